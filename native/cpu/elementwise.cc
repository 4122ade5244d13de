#include "cpu/elementwise.h"

#include <cstring>

namespace wbsr::cpu {

void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n) {
  if (kind != ActivationKind::None) activateTo(kernels, x, x, kind, slope, n);
}

void activateTo(const simd::Kernels& kernels, const float* in, float* out, ActivationKind kind, float slope,
                int64_t n) {
  const bool leaky = kind == ActivationKind::Relu || kind == ActivationKind::LeakyRelu;
  chunked(n, [&](int64_t from, int64_t count) {
    float* x = out + from;
    if (in != out) std::memcpy(x, in + from, sizeof(float) * static_cast<size_t>(count));
    if (leaky)
      kernels.leaky(x, slope, count);
    else
      kernels.smooth(x, kind, count);
  });
}

}  // namespace wbsr::cpu

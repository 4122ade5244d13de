#include "cpu/elementwise.h"

namespace wbsr::cpu {

void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n) {
  if (kind == ActivationKind::None) return;
  const bool leaky = kind == ActivationKind::Relu || kind == ActivationKind::LeakyRelu;
  chunked(n, [&](int64_t from, int64_t count) {
    if (leaky)
      kernels.leaky(x + from, slope, count);
    else
      kernels.smooth(x + from, kind, count);
  });
}

}  // namespace wbsr::cpu

#include "cpu/elementwise.h"

#include <cmath>

namespace wbsr::cpu {
namespace {

void sigmoid(float* x, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4096)
  for (int64_t i = 0; i < n; ++i) x[i] = 1.f / (1.f + std::exp(-x[i]));
}

}  // namespace

void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n) {
  if (kind == ActivationKind::None) return;
  if (kind == ActivationKind::Sigmoid) return sigmoid(x, n);
  const bool leaky = kind == ActivationKind::Relu || kind == ActivationKind::LeakyRelu;
  chunked(n, [&](int64_t from, int64_t count) {
    if (leaky)
      kernels.leaky(x + from, slope, count);
    else
      kernels.smooth(x + from, kind, count);
  });
}

}  // namespace wbsr::cpu

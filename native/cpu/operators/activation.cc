#include "core/operators/activation.h"

#include "cpu/elementwise.h"
#include "cpu/executable.h"
#include "cpu/planes.h"

namespace wbsr::cpu {
namespace {

using operators::Activation;

void sigmoidBackward(float* dx, const float* dy, const float* y, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4096)
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * y[i] * (1.f - y[i]);
}

void forward(const StepView& s) {
  float* out = s.out();
  const auto& op = s.op<Activation>();
  activateTo(*s.context().kernels, s.in(0), out, op.function(), op.slope(), s.outFloats());
  // 1 / 0 there would be infinite, and infinite times a weight of 0 is not a number.
  if (op.function() == ActivationKind::Reciprocal) clearPadding(s.outLayout(), s.outValue(), s.batch(), out);
}

void backward(const StepView& s) {
  const float *dy = s.in(0), *y = s.in(1);
  float* dx = s.out();
  const auto& op = s.op<Activation>();
  if (op.function() == ActivationKind::Sigmoid) return sigmoidBackward(dx, dy, y, s.outFloats());
  const simd::Kernels& kernels = *s.context().kernels;
  const bool leaky = op.function() == ActivationKind::Relu || op.function() == ActivationKind::LeakyRelu;
  chunked(s.outFloats(), [&](int64_t from, int64_t n) {
    if (leaky)
      kernels.leakyBackward(dx + from, dy + from, y + from, op.slope(), n);
    else
      kernels.smoothBackward(dx + from, dy + from, y + from, op.function(), n);
  });
}

}  // namespace

void register_activation(Registry& registry) {
  registry.add(Activation::kKind, forward);
  registry.add(Activation::kBackward, backward);
}

}  // namespace wbsr::cpu

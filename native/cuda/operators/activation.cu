// Activations and their backward.
#include "cuda/kernels/activations.h"

#include "core/operators/activation.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/operators/kernels.h"
#include "cuda/program/operator.h"

namespace wbsr::cuda {

template <typename T>
void activation(const T* x, T* y, int64_t count, ActivationKind kind, float slope, cudaStream_t stream) {
  if (kind == ActivationKind::Sigmoid) return elementwise::unary(x, y, count, Sigmoid{}, stream);
  elementwise::unary(x, y, count, Activate{slopeOf(kind, slope)}, stream);
}

template <typename T>
void activationBackward(const T* dy, const T* y, T* dx, int64_t count, ActivationKind kind, float slope,
                        cudaStream_t stream) {
  if (kind == ActivationKind::Sigmoid) return elementwise::binary(dy, y, dx, count, SigmoidBackward{}, stream);
  elementwise::binary(dy, y, dx, count, ActivateBackward{slopeOf(kind, slope)}, stream);
}

#define WBSR_INSTANTIATE(T)                                                                \
  template void activation<T>(const T*, T*, int64_t, ActivationKind, float, cudaStream_t); \
  template void activationBackward<T>(const T*, const T*, T*, int64_t, ActivationKind, float, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

namespace {

void compileActivation(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(step.out, step.out, [step, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    const auto& op = step.as<operators::Activation>();
    activation(v.at<T>(step.in[0]), v.at<T>(step.out), v.elements(step.out), op.function(), op.slope(), stream);
  });
}

void compileActivationBackward(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(step.out, step.out, [step, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    const auto& op = step.as<operators::Activation>();
    activationBackward(v.at<T>(step.in[0]), v.at<T>(step.in[1]), v.at<T>(step.out), v.elements(step.out), op.function(),
                       op.slope(), stream);
  });
}

const Registration forward(operators::Activation::kKind, {compileActivation});
const Registration backward(operators::Activation::kBackward, {compileActivationBackward});

}  // namespace
}  // namespace wbsr::cuda

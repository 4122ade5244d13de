// Activations and their backward.
#include "core/operators/activation.h"

#include "cuda/kernels/activations.h"

#include "core/operators/activation.h"
#include "cuda/kernels/elementwise.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {

template <typename T>
void activation(const T* x, T* y, int64_t count, ActivationKind kind, float slope, cudaStream_t stream) {
  withActivation(kind, slope, [&](auto f) { elementwise::unary(x, y, count, f, stream); });
}

template <typename T>
void activationBackward(const T* dy, const T* y, T* dx, int64_t count, ActivationKind kind, float slope,
                        cudaStream_t stream) {
  withDerivative(kind, slope, [&](auto f) { elementwise::binary(dy, y, dx, count, f, stream); });
}

#define WBSR_INSTANTIATE(T)                                                                \
  template void activation<T>(const T*, T*, int64_t, ActivationKind, float, cudaStream_t); \
  template void activationBackward<T>(const T*, const T*, T*, int64_t, ActivationKind, float, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

namespace {

using operators::Activation;

// f, and 0 in the padding behind `real` channels.
template <typename F>
struct Spared {
  F f;
  int real;
  __device__ void operator()(float (&v)[1][kVector], int channel) const {
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[0][k] = channel + k < real ? f(v[0][k]) : 0.f;
  }
};

void compileActivation(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(step.out, step.out, [step, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    const auto& op = step.as<Activation>();
    const T* x = v.at<T>(step.in[0]);
    if (!sparesPadding(op.function()))
      return activation(x, v.at<T>(step.out), v.elements(step.out), op.function(), op.slope(), stream);
    const Layout l = v.layout(step.out);
    withActivation(op.function(), op.slope(), [&](auto f) {
      elementwise::channelwise<1>({{x}}, v.at<T>(step.out), v.elements(step.out), l.paddedChannels,
                                  Spared<decltype(f)>{f, l.channels}, stream);
    });
  });
}

void compileActivationBackward(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(step.out, step.out, [step, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    const auto& op = step.as<Activation>();
    activationBackward(v.at<T>(step.in[0]), v.at<T>(step.in[1]), v.at<T>(step.out), v.elements(step.out), op.function(),
                       op.slope(), stream);
  });
}

}  // namespace

void register_activation(Registry& registry) {
  registry.add(Activation::kKind, compileActivation);
  registry.add(Activation::kBackward, compileActivationBackward);
}

}  // namespace wbsr::cuda

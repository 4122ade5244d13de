// A value times a factor per image and channel, as in channel attention, and its backward.
#include "core/operators/scale_channels.h"

#include "cuda/kernels/channels.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using namespace channels;

// out = x * factors (+ addend). x, addend, out (N, pixels, vectors x 8), factors (N, vectors x 8); addend may be null, out
// may be x or addend.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    scaleKernel(const T* x, const float* factors, const T* addend, T* out, Shape s) {
  const Place place(s);
  if (place.pixel >= place.end) return;
  float factor[kVector];
  load(factors + (place.image * s.vectors + place.vector) * kVector, factor);
  Raw<T> raw[kPerThread], rawAddend[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t p = place.pixel + i * place.lanes;
    if (p >= place.end) continue;
    raw[i] = loadRaw(x + place.at(s, p));
    if (addend) rawAddend[i] = loadRaw(addend + place.at(s, p));
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t p = place.pixel + i * place.lanes;
    if (p >= place.end) continue;
    float v[kVector], sum[kVector] = {};
    unpack(raw[i], v);
    if (addend) unpack(rawAddend[i], sum);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = fmaf(v[k], factor[k], sum[k]);
    store(out + place.at(s, p), v);
  }
}

}  // namespace

template <typename T>
void scaleChannels(const T* x, const float* factors, const T* addend, T* out, int batch, int64_t pixels, int channels,
                   cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, streamPixels(s));
  launch(scaleKernel<T>, grid, dim3(kThreads), 0, stream, x, factors, addend, out, s);
}

template <typename T>
void scaleChannelsBackwardFactors(const T* dOut, const T* x, float* dFactors, int batch, int64_t pixels, int channels,
                                  void* scratch, cudaStream_t stream) {
  sumPixels<ProductSum, T>({{dOut, x}}, dFactors, batch, pixels, channels, scratch, 1.f, ProductSum{}, stream);
}

#define WBSR_INSTANTIATE(T)                                                                              \
  template void scaleChannels<T>(const T*, const float*, const T*, T*, int, int64_t, int, cudaStream_t); \
  template void scaleChannelsBackwardFactors<T>(const T*, const T*, float*, int, int64_t, int, void*, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

namespace {

using operators::ScaleChannels;

// The gradient of the input is the same product, without a residual.
void compileScaleChannels(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.out);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      scaleChannels(v.at<T>(step.in[0]), v.at<float>(step.in[1]), v.atOrNull<const T>(step.residual),
                                    v.at<T>(step.out), batch, l.pixels(), l.paddedChannels, stream);
                    });
}

void compileScaleChannelsBackwardFactors(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.in[0]);
  compiler.needScratch(sumScratch(compiler.batch(), l.pixels(), l.paddedChannels));
  compiler.launchAs(step.in[0], step.out,
                    [=, &v = compiler.values(), &context = compiler.context(), batch = compiler.batch()](auto type) {
                      using T = decltype(type);
                      scaleChannelsBackwardFactors(v.at<T>(step.in[0]), v.at<T>(step.in[1]), v.at<float>(step.out),
                                                   batch, l.pixels(), l.paddedChannels, context.scratch.as(),
                                                   context.stream);
                    });
}

}  // namespace

void register_scale_channels(Registry& registry) {
  registry.add(ScaleChannels::kKind, compileScaleChannels);
  registry.fuses(ScaleChannels::kKind,
                 [](const Program&, const Step& step) { return step.activation == ActivationKind::None ? 1 : 0; });
  registry.add(ScaleChannels::kBackwardInput, compileScaleChannels);
  registry.add(ScaleChannels::kBackwardFactors, compileScaleChannelsBackwardFactors);
}

}  // namespace wbsr::cuda

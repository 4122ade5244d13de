// The mean over the pixels of an image, channel by channel, and its backward.
#include "core/operators/global_pool.h"

#include "cuda/kernels/channels.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using namespace channels;

// dIn (N, pixels, vectors x 8) = dOut (N, vectors x 8) / pixels
template <typename T>
__global__ void __launch_bounds__(kThreads) spreadKernel(const float* dOut, T* dIn, Shape s) {
  const Place place(s);
  if (place.pixel >= place.end) return;
  float share[kVector];
  load(dOut + (place.image * s.vectors + place.vector) * kVector, share);
#pragma unroll
  for (int k = 0; k < kVector; ++k) share[k] /= static_cast<float>(s.pixels);
  for (int64_t p = place.pixel; p < place.end; p += place.lanes) store(dIn + place.at(s, p), share);
}

}  // namespace

size_t globalPoolScratch(int batch, int64_t pixels, int channels) { return sumScratch(batch, pixels, channels); }

template <typename T>
void globalPool(const T* in, float* out, int batch, int64_t pixels, int channels, void* scratch, cudaStream_t stream) {
  sumPixels<ValueSum, T>({{in}}, out, batch, pixels, channels, scratch, static_cast<float>(pixels), ValueSum{}, stream);
}

template <typename T>
void globalPoolBackward(const float* dOut, T* dIn, int batch, int64_t pixels, int channels, cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, streamPixels(s));
  launch(spreadKernel<T>, grid, dim3(kThreads), 0, stream, dOut, dIn, s);
}

#define WBSR_INSTANTIATE(T)                                                              \
  template void globalPool<T>(const T*, float*, int, int64_t, int, void*, cudaStream_t); \
  template void globalPoolBackward<T>(const float*, T*, int, int64_t, int, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

namespace {

using operators::GlobalPool;

void compileGlobalPool(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.in[0]);
  compiler.needScratch(globalPoolScratch(compiler.batch(), l.pixels(), l.paddedChannels));
  compiler.launchAs(step.in[0], step.out,
                    [=, &v = compiler.values(), &context = compiler.context(), batch = compiler.batch()](auto type) {
                      using T = decltype(type);
                      globalPool(v.at<T>(step.in[0]), v.at<float>(step.out), batch, l.pixels(), l.paddedChannels,
                                 context.scratch.as(), context.stream);
                    });
}

void compileGlobalPoolBackward(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.out);
  compiler.launchAs(
      step.out, step.out, [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
        using T = decltype(type);
        globalPoolBackward(v.at<float>(step.in[0]), v.at<T>(step.out), batch, l.pixels(), l.paddedChannels, stream);
      });
}

}  // namespace

void register_global_pool(Registry& registry) {
  registry.add(GlobalPool::kKind, compileGlobalPool);
  registry.add(GlobalPool::kBackward, compileGlobalPoolBackward);
}

}  // namespace wbsr::cuda

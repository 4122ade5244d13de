// The mean, or the standard deviation, over the pixels of an image, channel by channel, and its backward.
#include "core/operators/global_pool.h"

#include "cuda/kernels/channels.h"
#include "cuda/operators/kernels.h"
#include "cuda/program/attention.h"
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

// The sum of squared distances from the mean (N, channels).
struct SquareSum {
  static constexpr int kOperands = 1;
  const float* mean;
  int channels;
  __device__ void operator()(const float (&v)[1][kVector], const Where& where, float (&sum)[kVector]) const {
    float m[kVector];
    load(mean + where.image * channels + where.channel, m);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] = fmaf(v[0][k] - m[k], v[0][k] - m[k], sum[k]);
  }
};

__global__ void __launch_bounds__(kThreads) rootKernel(float* values, int count) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i < count) values[i] = sqrtf(values[i]);
}

// dIn = dOut (x - mean) / (deviation pixels), 0 where there is no deviation. x, dIn (N, pixels, vectors x 8), the others (N,
// vectors x 8)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    deviationBackwardKernel(const float* dOut, const T* x, const float* mean, const float* deviation, T* dIn, Shape s) {
  const Place place(s);
  if (place.pixel >= place.end) return;
  const int64_t first = (place.image * s.vectors + place.vector) * kVector;
  float factor[kVector], m[kVector], d[kVector];
  load(dOut + first, factor);
  load(mean + first, m);
  load(deviation + first, d);
#pragma unroll
  for (int k = 0; k < kVector; ++k) factor[k] = d[k] > 0.f ? factor[k] / (d[k] * static_cast<float>(s.pixels)) : 0.f;
  for (int64_t p = place.pixel; p < place.end; p += place.lanes) {
    float v[kVector];
    load(x + place.at(s, p), v);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = factor[k] * (v[k] - m[k]);
    store(dIn + place.at(s, p), v);
  }
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

// Scratch for the means, then for sums.
size_t meanBytes(const StepCompiler& compiler, const Layout& l) {
  return (sizeof(float) * static_cast<size_t>(compiler.batch()) * static_cast<size_t>(l.paddedChannels) + 15) / 16 * 16;
}

void compileDeviation(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.in[0]);
  const size_t means = meanBytes(compiler, l);
  compiler.needScratch(means + sumScratch(compiler.batch(), l.pixels(), l.paddedChannels));
  compiler.launchAs(step.in[0], step.out,
                    [=, &v = compiler.values(), &context = compiler.context(), batch = compiler.batch()](auto type) {
                      using T = decltype(type);
                      const T* x = v.at<T>(step.in[0]);
                      float *mean = context.scratch.as<float>(), *out = v.at<float>(step.out);
                      void* sums = context.scratch.as<unsigned char>() + means;
                      globalPool(x, mean, batch, l.pixels(), l.paddedChannels, sums, context.stream);
                      sumPixels<SquareSum, T>({{x}}, out, batch, l.pixels(), l.paddedChannels, sums,
                                              static_cast<float>(l.pixels()), SquareSum{mean, l.paddedChannels},
                                              context.stream);
                      const int count = batch * l.paddedChannels;
                      launch(rootKernel, dim3(static_cast<unsigned>(divideUp(count, kThreads))), dim3(kThreads), 0,
                             context.stream, out, count);
                    });
}

// in: dOut, the deviation, the input.
void compileDeviationBackward(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.out);
  const size_t means = meanBytes(compiler, l);
  compiler.needScratch(means + sumScratch(compiler.batch(), l.pixels(), l.paddedChannels));
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), &context = compiler.context(), batch = compiler.batch()](auto type) {
                      using T = decltype(type);
                      const T* x = v.at<T>(step.in[2]);
                      float* mean = context.scratch.as<float>();
                      globalPool(x, mean, batch, l.pixels(), l.paddedChannels,
                                 context.scratch.as<unsigned char>() + means, context.stream);
                      Shape s = shapeOf(l.pixels(), l.paddedChannels);
                      const dim3 grid = cut(s, batch, streamPixels(s));
                      launch(deviationBackwardKernel<T>, grid, dim3(kThreads), 0, context.stream,
                             v.at<float>(step.in[0]), x, mean, v.at<float>(step.in[1]), v.at<T>(step.out), s);
                    });
}

void compileGlobalPool(StepCompiler& compiler, const Step& step) {
  if (step.as<GlobalPool>().deviation()) return compileDeviation(compiler, step);
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
  if (step.as<GlobalPool>().deviation()) return compileDeviationBackward(compiler, step);
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
  registry.add(kAttention, compileAttention);
}

}  // namespace wbsr::cuda

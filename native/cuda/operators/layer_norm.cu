// Normalisation over the channels of each pixel, y = (x - mean) / sqrt(variance + epsilon) weight + bias, and its backward.
#include "core/operators/layer_norm.h"

#include "cuda/kernels/channels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::LayerNorm;

constexpr int kThreads = 256;

struct Shape {
  int64_t pixels;
  int vectors, real;  // of eight channels; channels that count
  int lanes;          // threads that share a pixel: a power of two up to a warp
  float epsilon;
};

// The position of a thread, and sums over the lanes of its pixel. Every thread of the block calls sum().
struct Place {
  int64_t pixel;
  int lane, lanes;
  bool active;
  __device__ explicit Place(const Shape& s) {
    const int t = static_cast<int>(threadIdx.x);
    lane = t % s.lanes;
    lanes = s.lanes;
    pixel = int64_t{blockIdx.x} * (kThreads / s.lanes) + t / s.lanes;
    active = pixel < s.pixels;
  }
  __device__ float sum(float value) const {
    for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
  }
};

// Adds f(values, channel) of the pixel's channels; values: eight of x, and of dy where there is one.
template <typename T, typename F>
__device__ inline float sumChannels(const Shape& s, const Place& place, const T* x, F&& f) {
  float sum = 0.f;
  if (place.active)
    for (int vector = place.lane; vector < s.vectors; vector += s.lanes) {
      float v[kVector];
      load(x + (place.pixel * s.vectors + vector) * kVector, v);
#pragma unroll
      for (int k = 0; k < kVector; ++k)
        if (vector * kVector + k < s.real) sum += f(v[k]);
    }
  return place.sum(sum);
}

// Mean and 1 / sqrt(variance + epsilon) of the thread's pixel.
template <typename T>
__device__ inline float2 statistics(const Shape& s, const Place& place, const T* x) {
  const float count = static_cast<float>(s.real);
  const float mean = sumChannels(s, place, x, [](float v) { return v; }) / count;
  const float variance = sumChannels(s, place, x, [mean](float v) { return (v - mean) * (v - mean); }) / count;
  return make_float2(mean, 1.f / sqrtf(variance + s.epsilon));
}

// x, y (pixels, vectors x 8), weight, bias (vectors x 8)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    forwardKernel(const T* x, const float* weight, const float* bias, T* y, Shape s) {
  const Place place(s);
  const float2 stats = statistics(s, place, x);
  if (!place.active) return;
  for (int vector = place.lane; vector < s.vectors; vector += s.lanes) {
    const int64_t at = (place.pixel * s.vectors + vector) * kVector;
    float v[kVector], w[kVector], b[kVector];
    load(x + at, v);
    load(weight + vector * kVector, w);
    load(bias + vector * kVector, b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = fmaf((v[k] - stats.x) * stats.y, w[k], b[k]);  // 0 in the padding
    store(y + at, v);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    backwardKernel(const T* dy, const T* x, const float* weight, T* dx, Shape s) {
  const Place place(s);
  const float2 stats = statistics(s, place, x);
  float sum = 0.f, product = 0.f;  // of g = dy weight, and of g times the normalised x
  if (place.active)
    for (int vector = place.lane; vector < s.vectors; vector += s.lanes) {
      const int64_t at = (place.pixel * s.vectors + vector) * kVector;
      float v[kVector], g[kVector], w[kVector];
      load(x + at, v);
      load(dy + at, g);
      load(weight + vector * kVector, w);
#pragma unroll
      for (int k = 0; k < kVector; ++k) {
        if (vector * kVector + k >= s.real) continue;
        sum = fmaf(g[k], w[k], sum);
        product = fmaf(g[k] * w[k], (v[k] - stats.x) * stats.y, product);
      }
    }
  const float count = static_cast<float>(s.real);
  sum = place.sum(sum) / count;
  product = place.sum(product) / count;
  if (!place.active) return;
  for (int vector = place.lane; vector < s.vectors; vector += s.lanes) {
    const int64_t at = (place.pixel * s.vectors + vector) * kVector;
    float v[kVector], g[kVector], w[kVector];
    load(x + at, v);
    load(dy + at, g);
    load(weight + vector * kVector, w);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      const float normalised = (v[k] - stats.x) * stats.y;
      v[k] = vector * kVector + k < s.real ? stats.y * (g[k] * w[k] - sum - normalised * product) : 0.f;
    }
    store(dx + at, v);
  }
}

// stats (pixels)
template <typename T>
__global__ void __launch_bounds__(kThreads) statisticsKernel(const T* x, float2* stats, Shape s) {
  const Place place(s);
  const float2 its = statistics(s, place, x);
  if (place.active && place.lane == 0) stats[place.pixel] = its;
}

// The weight's gradient from v = {dy, x}.
struct NormalisedSum {
  static constexpr int kOperands = 2;
  const float2* stats;
  __device__ void operator()(const float (&v)[2][kVector], const channels::Where& where, float (&sum)[kVector]) const {
    const float2 its = stats[where.pixel];
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] = fmaf(v[0][k], (v[1][k] - its.x) * its.y, sum[k]);
  }
};

// ---------------------------------------------------------------------------------------------------------------------

Shape shapeOf(const StepCompiler& compiler, const Step& step, const Layout& l) {
  Shape s{l.pixels() * compiler.batch(), l.paddedChannels / kVector, l.channels, 1, step.as<LayerNorm>().epsilon()};
  while (s.lanes < 32 && s.lanes < s.vectors) s.lanes *= 2;
  return s;
}
dim3 gridOf(const Shape& s) { return dim3(static_cast<unsigned>(divideUp(s.pixels, kThreads / s.lanes))); }

const float* packOf(const StepCompiler& compiler, const Step& step, size_t parameter) {
  return static_cast<const float*>(compiler.context().weights->columnPack(step.parameters[parameter]).data);
}

void compileForward(StepCompiler& compiler, const Step& step) {
  const Shape s = shapeOf(compiler, step, compiler.values().layout(step.out));
  const float *weight = packOf(compiler, step, LayerNorm::kWeight), *bias = packOf(compiler, step, LayerNorm::kBias);
  compiler.launchAs(step.out, step.out, [=, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    launch(forwardKernel<T>, gridOf(s), dim3(kThreads), 0, stream, v.at<T>(step.in[0]), weight, bias, v.at<T>(step.out),
           s);
  });
}

// in: dOut, the input.
void compileBackwardData(StepCompiler& compiler, const Step& step) {
  const Shape s = shapeOf(compiler, step, compiler.values().layout(step.out));
  const float* weight = packOf(compiler, step, LayerNorm::kWeight);
  compiler.launchAs(step.out, step.out, [=, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    launch(backwardKernel<T>, gridOf(s), dim3(kThreads), 0, stream, v.at<T>(step.in[0]), v.at<T>(step.in[1]), weight,
           v.at<T>(step.out), s);
  });
}

// in: dOut, the input. The scratch holds the statistics of all pixels.
void compileBackwardWeights(StepCompiler& compiler, const Step& step) {
  const Values& values = compiler.values();
  const Layout l = values.layout(step.in[0]);
  const Shape s = shapeOf(compiler, step, l);
  compiler.needSideScratch(sizeof(float2) * static_cast<size_t>(s.pixels));
  const auto sumsOf = [&](int parameter) {
    const ParameterSlice& slice = step.parameters[static_cast<size_t>(parameter)];
    ChannelSum sum{0, compiler.placeOf(slice), channels::sumChunks(s.pixels), l.paddedChannels, l.channels};
    sum.rows = compiler.context().weights->indices(slice.ranges[0]);
    return compiler.addAtEnd(sum);
  };
  const auto weightSums = sumsOf(LayerNorm::kWeight), biasSums = sumsOf(LayerNorm::kBias);
  compiler.launchBeside({values.range(step.in[0]), values.range(step.in[1])},
                        [=, &v = values, &c = compiler.context()] {
                          withType(v.isHalf(step.in[0]), [&](auto type) {
                            using T = decltype(type);
                            const T *dy = v.at<T>(step.in[0]), *x = v.at<T>(step.in[1]);
                            float2* stats = c.sideScratch.as<float2>();
                            launch(statisticsKernel<T>, gridOf(s), dim3(kThreads), 0, c.side, x, stats, s);
                            channels::leaveSums<NormalisedSum, T>({{dy, x}}, weightSums(), 1, s.pixels,
                                                                  l.paddedChannels, NormalisedSum{stats}, c.side);
                            channels::leaveSums<channels::ValueSum, T>({{dy}}, biasSums(), 1, s.pixels,
                                                                       l.paddedChannels, channels::ValueSum{}, c.side);
                          });
                        });
}

}  // namespace

void register_layer_norm(Registry& registry) {
  registry.add(LayerNorm::kKind, compileForward);
  registry.add(LayerNorm::kBackwardData, compileBackwardData);
  registry.add(LayerNorm::kBackwardWeights, compileBackwardWeights);
}

}  // namespace wbsr::cuda

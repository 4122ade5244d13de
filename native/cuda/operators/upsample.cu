// Bilinear and bicubic enlargement by a whole factor (kernels/enlargement.h) and its transpose.
#include "core/operators/upsample.h"

#include <algorithm>

#include "core/operators/upsample.h"
#include "cuda/kernels/enlargement.h"
#include "cuda/kernels/window_taps.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

struct Shape {
  int height, width, factor;  // of the small side
  int vectors;                // of eight channels, per pixel
  unsigned chunks;            // pieces of a row that a block does
};

// in (N, H, W, vectors x 8) -> out (N, H f, W f, vectors x 8); addend like out, may be null or out. A thread has one
// vector of each of the f rows of out that lie in one row of in: they share the horizontal sums of the window's rows.
template <bool kCubic, typename T>
__global__ void __launch_bounds__(kThreads) upsampleKernel(const T* in, const T* addend, T* out, Shape s) {
  constexpr int reach = kReach<kCubic>, window = kWindow<kCubic>, taps = 2 * reach;
  __shared__ float table[kMaxFactor][window];
  makeTable<kCubic>(table, s.factor);
  __syncthreads();
  const int64_t row = blockIdx.x / s.chunks;  // n H + y
  const int y = static_cast<int>(row % s.height);
  const int j = static_cast<int>(blockIdx.x % s.chunks) * kThreads + static_cast<int>(threadIdx.x);
  const int rowVectors = s.width * s.factor * s.vectors;
  if (j >= rowVectors) return;
  const int outX = j / s.vectors, vector = j - outX * s.vectors, x = outX / s.factor, phase = outX - x * s.factor;
  const int skip = firstTap(phase, s.factor);
  int column[taps];
  float weight[taps];
#pragma unroll
  for (int t = 0; t < taps; ++t) {
    column[t] = (min(max(x - reach + skip + t, 0), s.width - 1) * s.vectors + vector) * kVector;
    weight[t] = table[phase][skip + t];
  }
  float sums[window][kVector];
#pragma unroll
  for (int r = 0; r < window; ++r) {
    const int from = min(max(y - reach + r, 0), s.height - 1);
    const T* source = in + (row - y + from) * s.width * s.vectors * kVector;
#pragma unroll
    for (int k = 0; k < kVector; ++k) sums[r][k] = 0.f;
#pragma unroll
    for (int t = 0; t < taps; ++t) {
      float v[kVector];
      load(source + column[t], v);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sums[r][k] = fmaf(weight[t], v[k], sums[r][k]);
    }
  }
  for (int q = 0; q < s.factor; ++q) {
    const int64_t at = ((row * s.factor + q) * rowVectors + j) * kVector;
    float v[kVector] = {};
    if (addend) load(addend + at, v);
#pragma unroll
    for (int r = 0; r < window; ++r)
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] = fmaf(table[q][r], sums[r][k], v[k]);
    store(out + at, v);
  }
}

// The weight of input sample i in the outputs of that base and phase: window samples outside the input are added to the
// nearest one inside.
template <bool kCubic>
__device__ inline float received(const float (*table)[kWindow<kCubic>], int i, int base, int phase, int size) {
  if (base < 0 || base >= size) return 0.f;
  float sum = 0.f;
  for (int t = 0; t < kWindow<kCubic>; ++t)
    if (min(max(base - kReach<kCubic> + t, 0), size - 1) == i) sum += table[phase][t];
  return sum;
}

// Of the shared memory below; the data behind them is read as vectors.
WBSR_HD inline int columnWeightFloats(int columns, int span) { return (columns * span + 3) / 4 * 4; }

// dOut (N, H f, W f, vectors x 8) -> dIn (N, H, W, vectors x 8), separable: a block has `columns` neighbouring pixels of
// one row of dIn and `group` vectors of their channels (blockIdx.y says which); it sums rows of dOut into shared memory,
// then columns from there. Every sum has a fixed order.
template <bool kCubic, typename T>
__global__ void __launch_bounds__(kThreads)
    upsampleBackwardKernel(const T* dOut, T* dIn, Shape s, int columns, int group) {
  constexpr int reach = kReach<kCubic>, window = kWindow<kCubic>;
  __shared__ float table[kMaxFactor][window];
  __shared__ float rowWeights[window * kMaxFactor];
  WBSR_SHARED(float, shared);
  const int span = window * s.factor;                        // outputs along an axis that read one input sample
  float* columnWeights = shared;                             // (columns, span)
  float* sums = shared + columnWeightFloats(columns, span);  // ((columns + 2 reach) f, group x 8)
  const int64_t row = blockIdx.x / s.chunks;                 // n H + y
  const int y = static_cast<int>(row % s.height);
  const int x0 = static_cast<int>(blockIdx.x % s.chunks) * columns, live = min(columns, s.width - x0);
  const int vector0 = static_cast<int>(blockIdx.y) * group, vectors = min(group, s.vectors - vector0);
  makeTable<kCubic>(table, s.factor);
  __syncthreads();
  for (int i = threadIdx.x; i < span; i += kThreads)
    rowWeights[i] = received<kCubic>(table, y, y - reach + i / s.factor, i % s.factor, s.height);
  for (int i = threadIdx.x; i < live * span; i += kThreads) {
    const int x = x0 + i / span, at = i % span;
    columnWeights[i] = received<kCubic>(table, x, x - reach + at / s.factor, at % s.factor, s.width);
  }
  __syncthreads();
  const int firstX = (x0 - reach) * s.factor, outWidth = s.width * s.factor;
  const int firstY = (y - reach) * s.factor, outHeight = s.height * s.factor;
  const T* image = dOut + (row - y) * s.factor * outWidth * s.vectors * kVector;
  for (int i = threadIdx.x; i < (live + 2 * reach) * s.factor * vectors; i += kThreads) {
    const int x = firstX + i / vectors, vector = i % vectors;
    float sum[kVector] = {};
    if (x >= 0 && x < outWidth) {
      const T* from = image + (int64_t{x} * s.vectors + vector0 + vector) * kVector;
#pragma unroll 2
      for (int q = max(0, -firstY); q < min(span, outHeight - firstY); ++q) {
        float v[kVector];
        load(from + int64_t{firstY + q} * outWidth * s.vectors * kVector, v);
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[k] = fmaf(rowWeights[q], v[k], sum[k]);
      }
    }
    store(sums + i * kVector, sum);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < live * vectors; i += kThreads) {
    const int x = i / vectors, vector = i % vectors;
    float sum[kVector] = {};
    for (int q = 0; q < span; ++q) {
      float v[kVector];
      load(sums + ((x * s.factor + q) * vectors + vector) * kVector, v);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] = fmaf(columnWeights[x * span + q], v[k], sum[k]);
    }
    store(dIn + ((row * s.width + x0 + x) * s.vectors + vector0 + vector) * kVector, sum);
  }
}

// ---------------------------------------------------------------------------------------------------------------------

template <bool kCubic, typename T>
void launchUpsample(const T* in, const T* addend, T* out, int batch, Shape s, cudaStream_t stream) {
  s.chunks = static_cast<unsigned>(divideUp(int64_t{s.width} * s.factor * s.vectors, kThreads));
  const dim3 grid(static_cast<unsigned>(int64_t{batch} * s.height * s.chunks));
  launch(upsampleKernel<kCubic, T>, grid, dim3(kThreads), 0, stream, in, addend, out, s);
}

template <bool kCubic, typename T>
void launchUpsampleBackward(const T* dOut, T* dIn, int batch, Shape s, cudaStream_t stream) {
  if (s.vectors == 0) return;
  const int group = std::min(s.vectors, 8), columns = std::max(16, 64 / group);
  s.chunks = static_cast<unsigned>(divideUp(s.width, columns));
  const dim3 grid(static_cast<unsigned>(int64_t{batch} * s.height * s.chunks),
                  static_cast<unsigned>(divideUp(s.vectors, group)));
  const int floats = columnWeightFloats(columns, kWindow<kCubic> * s.factor) +
                     (columns + 2 * kReach<kCubic>)*s.factor * group * kVector;
  const size_t shared = sizeof(float) * static_cast<size_t>(floats);
  launch(upsampleBackwardKernel<kCubic, T>, grid, dim3(kThreads), shared, stream, dOut, dIn, s, columns, group);
}

}  // namespace

template <typename T>
void upsample(const T* in, const T* addend, T* out, int batch, int height, int width, int channels, int factor,
              bool cubic, cudaStream_t stream) {
  WBSR_CHECK(factor >= 1 && factor <= kMaxFactor && channels % kVector == 0);
  const Shape shape{height, width, factor, channels / kVector, 0};
  if (cubic)
    launchUpsample<true>(in, addend, out, batch, shape, stream);
  else
    launchUpsample<false>(in, addend, out, batch, shape, stream);
}

template <typename T>
void upsampleBackward(const T* dOut, T* dIn, int batch, int height, int width, int channels, int factor, bool cubic,
                      cudaStream_t stream) {
  WBSR_CHECK(factor >= 1 && factor <= kMaxFactor && channels % kVector == 0);
  const Shape shape{height, width, factor, channels / kVector, 0};
  if (cubic)
    launchUpsampleBackward<true>(dOut, dIn, batch, shape, stream);
  else
    launchUpsampleBackward<false>(dOut, dIn, batch, shape, stream);
}

#define WBSR_INSTANTIATE(T)                                                                       \
  template void upsample<T>(const T*, const T*, T*, int, int, int, int, int, bool, cudaStream_t); \
  template void upsampleBackward<T>(const T*, T*, int, int, int, int, int, bool, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

namespace {

using operators::Upsample;

// Modes and ratios that the kernels above do not support, by tables. `in`, `out`: values of the forward step; backward
// computes in's gradient from out's.
void compileByTable(StepCompiler& compiler, const Step& step, const Layout& in, const Layout& out, bool backward) {
  const auto& op = step.as<Upsample>();
  const Interpolation mode = op.mode() == Upsample::Nearest  ? Interpolation::Nearest
                           : op.mode() == Upsample::Bilinear ? Interpolation::Bilinear
                                                             : Interpolation::Bicubic;
  const auto axis = [&](int inputs, int outputs) {
    const AxisTaps taps = resizeTaps(mode, static_cast<double>(op.a()), inputs, outputs, op.divisor(), op.factor());
    return backward ? makeAxis(compiler, transposed(taps, inputs), outputs) : makeAxis(compiler, taps, inputs);
  };
  const Axis rows = axis(in.height, out.height), columns = axis(in.width, out.width);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      resample(v.at<const T>(step.in[0]), v.atOrNull<const T>(step.residual), v.at<T>(step.out), batch,
                               in.paddedChannels, rows, columns, stream);
                    });
}

void compileUpsample(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.in[0]);
  if (!step.as<Upsample>().isClassic())
    return compileByTable(compiler, step, l, compiler.values().layout(step.out), false);
  const auto& op = step.as<operators::Upsample>();
  compiler.launchAs(step.out, step.out,
                    [=, &op, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      const auto& op = step.as<Upsample>();
                      upsample(v.at<T>(step.in[0]), v.atOrNull<const T>(step.residual), v.at<T>(step.out), batch,
                               l.height, l.width, l.paddedChannels, op.factor(), op.cubic(), stream);
                    });
}

void compileUpsampleBackward(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.out);
  if (!step.as<Upsample>().isClassic())
    return compileByTable(compiler, step, l, compiler.values().layout(step.in[0]), true);
  const auto& op = step.as<operators::Upsample>();
  compiler.launchAs(step.out, step.out,
                    [=, &op, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      const auto& op = step.as<Upsample>();
                      upsampleBackward(v.at<T>(step.in[0]), v.at<T>(step.out), batch, l.height, l.width,
                                       l.paddedChannels, op.factor(), op.cubic(), stream);
                    });
}

}  // namespace

void register_upsample(Registry& registry) {
  registry.add(Upsample::kKind, compileUpsample);
  // More than the convolution beside it, so that the enlarged value is never stored.
  registry.fuses(Upsample::kKind,
                 [](const Program&, const Step& step) { return step.activation == ActivationKind::None ? 3 : 0; });
  registry.add(Upsample::kBackward, compileUpsampleBackward);
}

}  // namespace wbsr::cuda

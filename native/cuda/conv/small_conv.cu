// Convolutions that are too small for tensor cores, in full float32: between thin values (RCAN's mean shift works in
// 0..255) and between pooled ones, where only the centre tap meets an input. Straight from the master weights; backward
// data is the forward kernel with the two channel indices exchanged and the taps mirrored.
#include <algorithm>

#include "cuda/kernels/activations.h"
#include "cuda/kernels/lane_sums.h"
#include "cuda/conv/kernels.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 16;  // output pixels along an axis that a block of the weights' gradient keeps
constexpr int kTilePixels = kTile * kTile;
constexpr int kMaxBlocks = 128;  // of the weights' gradient; each leaves one partial sum

// A convolution ins -> outs in either direction. The weight of (out, in, tap) is at out * outStep + in * inStep + tap,
// or at the mirrored tap.
struct Direction {
  int height, width, kernel;
  int ins, outs, inStride, outStride;
  int inStep, outStep;
  const int *inIndices, *outIndices;  // of the weight; null: the first ones
  bool mirrored;
};

__device__ inline int indexOf(const int* indices, int channel) { return indices ? indices[channel] : channel; }

// Of the weight's first tap.
__device__ inline int weightAt(const Direction& d, int out, int in) {
  return indexOf(d.outIndices, out) * d.outStep + indexOf(d.inIndices, in) * d.inStep;
}

// in (N, H, W, 8) -> out (N, H, W, 8), residual like out or null, bias (outs) or null. A thread has one pixel and all
// its outputs; kOuts: 4 or 8, at least outs.
template <int kOuts, typename F>
__global__ void __launch_bounds__(kThreads)
    thinKernel(const float* in, const float* weight, const float* bias, const float* residual, float* out, Direction d,
               unsigned blocks, F activation) {
  WBSR_SHARED(float, weights);  // (k, k, ins, kOuts), then the bias (kOuts)
  const int area = d.kernel * d.kernel, pad = d.kernel / 2;
  for (int e = threadIdx.x; e < area * d.ins * kOuts; e += kThreads) {
    const int o = e % kOuts, i = e / kOuts % d.ins, tap = e / kOuts / d.ins;
    weights[e] = o < d.outs ? weight[weightAt(d, o, i) + (d.mirrored ? area - 1 - tap : tap)] : 0.f;
  }
  float* const biases = weights + area * d.ins * kOuts;
  const int t = static_cast<int>(threadIdx.x);
  if (t < kOuts) biases[t] = bias && t < d.outs ? bias[indexOf(d.outIndices, t)] : 0.f;
  __syncthreads();
  const int64_t image = blockIdx.x / blocks, pixels = int64_t{d.height} * d.width;
  const int64_t pixel = int64_t{blockIdx.x % blocks} * kThreads + threadIdx.x;
  if (pixel >= pixels) return;
  const int y = static_cast<int>(pixel / d.width), x = static_cast<int>(pixel % d.width);
  const float* const source = in + image * pixels * kVector;
  float sum[kVector] = {};
#pragma unroll
  for (int o = 0; o < kOuts; ++o) sum[o] = biases[o];
  for (int ky = max(0, pad - y); ky < min(d.kernel, d.height + pad - y); ++ky)
    for (int kx = max(0, pad - x); kx < min(d.kernel, d.width + pad - x); ++kx) {
      float v[kVector];
      load(source + (int64_t{y + ky - pad} * d.width + x + kx - pad) * kVector, v);
      const float* w = weights + (ky * d.kernel + kx) * d.ins * kOuts;
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        if (i >= d.ins) continue;
#pragma unroll
        for (int o = 0; o < kOuts; o += 4) {
          const float4 four = *reinterpret_cast<const float4*>(w + i * kOuts + o);
          sum[o] = fmaf(v[i], four.x, sum[o]);
          sum[o + 1] = fmaf(v[i], four.y, sum[o + 1]);
          sum[o + 2] = fmaf(v[i], four.z, sum[o + 2]);
          sum[o + 3] = fmaf(v[i], four.w, sum[o + 3]);
        }
      }
    }
  const int64_t to = (image * pixels + pixel) * kVector;
  float other[kVector] = {};
  if (residual) load(residual + to, other);
#pragma unroll
  for (int o = 0; o < kVector; ++o) sum[o] = o < d.outs ? activation(sum[o]) + other[o] : 0.f;
  store(out + to, sum);
}

// in (N, inStride) -> out (N, outStride), residual like out or null. `lanes` threads (a power of two up to a warp) share
// an output; padding has threads too.
template <typename F>
__global__ void __launch_bounds__(kThreads)
    pooledKernel(const float* in, const float* weight, const float* bias, const float* residual, float* out,
                 Direction d, int64_t count, int lanes, F activation) {
  const int t = static_cast<int>(threadIdx.x), lane = t % lanes;
  const int64_t index = int64_t{blockIdx.x} * (kThreads / lanes) + t / lanes;
  const int64_t image = index / d.outStride;
  const int o = static_cast<int>(index % d.outStride);
  const bool real = index < count && o < d.outs;
  float sum = 0.f;
  if (real)
    for (int i = lane; i < d.ins; i += lanes)
      sum = fmaf(in[image * d.inStride + i], weight[weightAt(d, o, i) + d.kernel * d.kernel / 2], sum);
  for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (index >= count || lane != 0) return;
  if (!real)
    out[index] = 0.f;
  else
    out[index] = activation(sum + (bias ? bias[indexOf(d.outIndices, o)] : 0.f)) + (residual ? residual[index] : 0.f);
}

// The part of a block of the weights' gradient. An item is a (tap, input channel) with all its output channels; the
// last one is the bias, whose input is 1.
struct Items {
  int count, perBlock;  // perBlock: at most kThreads; blockIdx.y says which of them
  int tilesX, tilesPerImage;
  int64_t tiles;
};

// in, dOut (N, H, W, 8) -> partial (gridDim.x, items, 8). Tiles of both lie in shared memory; threads of one lane have
// different items and go through the same pixels, so that a block's groups of threads split the tile's pixels.
__global__ void __launch_bounds__(kThreads)
    thinWeightsKernel(const float* in, const float* dOut, float* partial, SmallConv c, Items items) {
  WBSR_SHARED(float, shared);
  const int pad = c.kernel / 2, side = kTile + c.kernel - 1;
  float* const gradients = shared;                       // (kTilePixels, 8); at the end sumLanes' memory
  float* const inputs = shared + kTilePixels * kVector;  // (side, side, 8)
  const int t = static_cast<int>(threadIdx.x), lanes = kThreads / items.perBlock, lane = t / items.perBlock;
  const int item = static_cast<int>(blockIdx.y) * items.perBlock + t % items.perBlock;
  const bool active = lane < lanes && item < items.count, bias = item == items.count - 1;
  const int channel = item % c.inChannels, tap = item / c.inChannels;
  // The item's input for the tile's first pixel.
  const int offset = bias ? 0 : (tap / c.kernel * side + tap % c.kernel) * kVector + channel;
  float sum[kVector] = {};
  for (int64_t tile = blockIdx.x; tile < items.tiles; tile += gridDim.x) {
    const int64_t image = tile / items.tilesPerImage;
    const int inImage = static_cast<int>(tile % items.tilesPerImage);
    const int y0 = inImage / items.tilesX * kTile, x0 = inImage % items.tilesX * kTile;
    const int64_t first = image * c.height * c.width;
    __syncthreads();
    for (int p = t; p < kTilePixels + side * side; p += kThreads) {
      const bool gradient = p < kTilePixels;
      const int q = gradient ? p : p - kTilePixels, row = gradient ? kTile : side, shift = gradient ? 0 : pad;
      const int y = y0 + q / row - shift, x = x0 + q % row - shift;
      float v[kVector] = {};
      if (y >= 0 && y < c.height && x >= 0 && x < c.width)
        load((gradient ? dOut : in) + (first + int64_t{y} * c.width + x) * kVector, v);
      store(shared + p * kVector, v);
    }
    __syncthreads();
    if (!active) continue;
#pragma unroll 2
    for (int p = lane; p < kTilePixels; p += lanes) {
      const float x = bias ? 1.f : inputs[(p / kTile * side + p % kTile) * kVector + offset];
      float g[kVector];
      load(gradients + p * kVector, g);
#pragma unroll
      for (int o = 0; o < kVector; ++o) sum[o] = fmaf(x, g[o], sum[o]);
    }
  }
  sumLanes<kThreads>(sum, shared, lanes, items.perBlock);
  if (active && lane == 0) store(partial + (int64_t{blockIdx.x} * items.count + item) * kVector, sum);
}

// partial (blocks, items, 8) is added to the master gradients.
__global__ void __launch_bounds__(kSumThreads)
    finishWeightsKernel(const float* partial, float* weightGradient, float* biasGradient, SmallConv c, int items,
                        int blocks) {
  __shared__ double shared[kSumThreads];
  const int element = static_cast<int>(blockIdx.x) * kSumColumns + static_cast<int>(threadIdx.x) % kSumColumns;
  const int item = element / kVector, o = element % kVector;
  const bool real = item < items && o < c.outChannels;
  const double sum = sumPartials(real ? partial + element : nullptr, blocks, int64_t{items} * kVector, shared);
  if (!real || threadIdx.x >= kSumColumns) return;
  const int channel = item % c.inChannels, tap = item / c.inChannels;
  if (item < items - 1)
    weightGradient[(indexOf(c.outIndices, o) * c.fullIn + indexOf(c.inIndices, channel)) * c.kernel * c.kernel + tap] +=
        static_cast<float>(sum);
  else if (biasGradient)
    biasGradient[indexOf(c.outIndices, o)] += static_cast<float>(sum);
}

// in (N, inStride), dOut (N, outStride): the centre tap's gradient is added to the master gradients. A thread has one
// weight; input channel inChannels stands for the bias.
__global__ void __launch_bounds__(kThreads)
    pooledWeightsKernel(const float* in, const float* dOut, float* weightGradient, float* biasGradient, SmallConv c) {
  const int element = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int o = element / (c.inChannels + 1), i = element % (c.inChannels + 1), area = c.kernel * c.kernel;
  if (o >= c.outChannels) return;
  const bool bias = i == c.inChannels;
  float sum = 0.f;
  for (int n = 0; n < c.batch; ++n)
    sum = fmaf(bias ? 1.f : in[int64_t{n} * c.inStride + i], dOut[int64_t{n} * c.outStride + o], sum);
  if (!bias)
    weightGradient[(indexOf(c.outIndices, o) * c.fullIn + indexOf(c.inIndices, i)) * area + area / 2] += sum;
  else if (biasGradient)
    biasGradient[indexOf(c.outIndices, o)] += sum;
}

// ---------------------------------------------------------------------------------------------------------------------

bool isPooled(const SmallConv& c) { return c.height == 1 && c.width == 1; }

void checkShape(const SmallConv& c) {
  WBSR_CHECK(c.kernel % 2 == 1 && c.kernel >= 1 && c.kernel <= 9 && c.inChannels >= 1 && c.outChannels >= 1 &&
             c.inChannels <= c.fullIn);
  WBSR_CHECK(c.inChannels <= c.inStride && c.outChannels <= c.outStride);
  WBSR_CHECK(isPooled(c) || (c.inStride == kVector && c.outStride == kVector));
}

template <typename F>
void run(const Direction& d, int batch, const float* in, const float* weight, const float* bias, const float* residual,
         float* out, F activation, cudaStream_t stream) {
  const int64_t pixels = int64_t{d.height} * d.width;
  if (pixels == 1) {
    int lanes = 1;
    while (lanes < 32 && lanes < d.ins) lanes *= 2;
    const int64_t count = int64_t{batch} * d.outStride;
    const dim3 grid(static_cast<unsigned>(divideUp(count, kThreads / lanes)));
    return launch(pooledKernel<F>, grid, dim3(kThreads), 0, stream, in, weight, bias, residual, out, d, count, lanes,
                  activation);
  }
  const unsigned blocks = static_cast<unsigned>(divideUp(pixels, kThreads));
  const int outs = d.outs <= 4 ? 4 : 8;
  const size_t shared = sizeof(float) * static_cast<size_t>((d.kernel * d.kernel * d.ins + 1) * outs);
  launch(outs == 4 ? thinKernel<4, F> : thinKernel<8, F>, dim3(blocks * static_cast<unsigned>(batch)), dim3(kThreads),
         shared, stream, in, weight, bias, residual, out, d, blocks, activation);
}

Items itemsOf(const SmallConv& c) {
  Items items;
  items.count = c.kernel * c.kernel * c.inChannels + 1;
  items.perBlock = std::min(items.count, kThreads);
  items.tilesX = static_cast<int>(divideUp(c.width, kTile));
  items.tilesPerImage = items.tilesX * static_cast<int>(divideUp(c.height, kTile));
  items.tiles = int64_t{c.batch} * items.tilesPerImage;
  return items;
}

}  // namespace

void smallConv(const SmallConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out, cudaStream_t stream) {
  checkShape(c);
  const int area = c.kernel * c.kernel;
  const Direction direction{c.height,    c.width, c.kernel,        c.inChannels, c.outChannels, c.inStride,
                            c.outStride, area,    c.fullIn * area, c.inIndices,  c.outIndices,  false};
  withEnd(c.activation, c.slope, [&](auto f) { run(direction, c.batch, in, weight, bias, residual, out, f, stream); });
}

void smallConvBackwardData(const SmallConv& c, const float* dOut, const float* weight, float* dIn,
                           cudaStream_t stream) {
  checkShape(c);
  const int area = c.kernel * c.kernel;
  run({c.height, c.width, c.kernel, c.outChannels, c.inChannels, c.outStride, c.inStride, c.fullIn * area, area,
       c.outIndices, c.inIndices, true},
      c.batch, dOut, weight, nullptr, nullptr, dIn, Activate{1.f}, stream);
}

size_t smallConvScratch(const SmallConv& c) {
  if (isPooled(c)) return 0;
  const Items items = itemsOf(c);
  return sizeof(float) * static_cast<size_t>(std::min<int64_t>(items.tiles, kMaxBlocks) * items.count * kVector);
}

void smallConvBackwardWeights(const SmallConv& c, const float* in, const float* dOut, float* weightGradient,
                              float* biasGradient, void* scratch, cudaStream_t stream) {
  checkShape(c);
  if (isPooled(c)) {
    const dim3 grid(static_cast<unsigned>(divideUp(int64_t{c.outChannels} * (c.inChannels + 1), kThreads)));
    return launch(pooledWeightsKernel, grid, dim3(kThreads), 0, stream, in, dOut, weightGradient, biasGradient, c);
  }
  const Items items = itemsOf(c);
  if (items.tiles == 0) return;
  const unsigned blocks = static_cast<unsigned>(std::min<int64_t>(items.tiles, kMaxBlocks));
  const int side = kTile + c.kernel - 1;
  const size_t shared = sizeof(float) * static_cast<size_t>((kTilePixels + side * side) * kVector);
  float* partial = static_cast<float*>(scratch);
  const dim3 grid(blocks, static_cast<unsigned>(divideUp(items.count, items.perBlock)));
  launch(thinWeightsKernel, grid, dim3(kThreads), shared, stream, in, dOut, partial, c, items);
  const dim3 columns(static_cast<unsigned>(divideUp(int64_t{items.count} * kVector, kSumColumns)));
  launch(finishWeightsKernel, columns, dim3(kSumThreads), 0, stream, partial, weightGradient, biasGradient, c,
         items.count, static_cast<int>(blocks));
}

}  // namespace wbsr::cuda

// Gradient of a bias: the sum of dy over all pixels, channel by channel. Two kernels, no atomics: blocks of pixels leave
// partial sums, then these are added in a fixed order. Sums are kept short at every stage (a run of pixels, the runs of a
// thread, a tree over the threads, a tree over the blocks), so that float32 loses a few bits at most.
#include <algorithm>

#include "cuda/program/layout.h"
#include "cuda/conv/kernels.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kInFlight = 4;     // vectors that a thread loads at once
constexpr int kRun = 4;          // rounds of kInFlight that are summed on their own
constexpr int kMaxBlocks = 256;  // two per SM of an H200: all run at once, and few partial sums are left

// dy (pixels, vectors x 8) -> partial (blocks, vectors x 8). blockIdx.x: a range of perBlock pixels; blockIdx.y: a range of
// `columns` vectors. Thread: vector threadIdx.x % columns of every rows-th pixel, so that neighbours read neighbours.
template <typename T>
__global__ void __launch_bounds__(kThreads) biasPartialKernel(const T* dy, float* partial, int64_t pixels,
                                                              int64_t perBlock, int vectors, int columns, int rows) {
  __shared__ float tree[kVector][kThreads];
  const int thread = static_cast<int>(threadIdx.x), row = thread / columns;
  const int vector = static_cast<int>(blockIdx.y) * columns + thread % columns;
  const bool active = row < rows && vector < vectors;
  float total[kVector] = {};
  if (active) {
    const int64_t begin = int64_t{blockIdx.x} * perBlock, end = min(begin + perBlock, pixels);
    const T* const column = dy + int64_t{vector} * kVector;
    for (int64_t pixel = begin + row; pixel < end;) {
      float run[kVector] = {};
      for (int round = 0; round < kRun && pixel < end; ++round, pixel += int64_t{kInFlight} * rows) {
        Raw<T> raw[kInFlight] = {};
#pragma unroll
        for (int i = 0; i < kInFlight; ++i)
          if (pixel + int64_t{i} * rows < end)
            raw[i] = loadRaw(column + (pixel + int64_t{i} * rows) * vectors * kVector);
        float v[kInFlight][kVector];
#pragma unroll
        for (int i = 0; i < kInFlight; ++i) unpack(raw[i], v[i]);
#pragma unroll
        for (int k = 0; k < kVector; ++k) run[k] += (v[0][k] + v[1][k]) + (v[2][k] + v[3][k]);
      }
#pragma unroll
      for (int k = 0; k < kVector; ++k) total[k] += run[k];
    }
  }
#pragma unroll
  for (int k = 0; k < kVector; ++k) tree[k][thread] = total[k];
  for (int left = rows; left > 1;) {
    const int half = (left + 1) / 2;
    __syncthreads();
    if (row + half < left) {
#pragma unroll
      for (int k = 0; k < kVector; ++k) tree[k][thread] += tree[k][thread + half * columns];
    }
    left = half;
  }
  if (!active || row > 0) return;
  float sum[kVector];
#pragma unroll
  for (int k = 0; k < kVector; ++k) sum[k] = tree[k][thread];
  store(partial + (int64_t{blockIdx.x} * vectors + vector) * kVector, sum);
}

constexpr int kChannels = 32;  // per block of the second kernel: a 128-byte line of partial sums per warp
constexpr int kLanes = 32;     // warps: partial sums that are read at once

// partial (blocks, paddedChannels); gradient (channels) is added to.
__global__ void __launch_bounds__(kChannels* kLanes)
    biasFinishKernel(const float* partial, float* gradient, const int* rows, int blocks, int paddedChannels,
                     int channels, int groups) {
  __shared__ float tree[kLanes][kChannels + 1];
  const int column = static_cast<int>(threadIdx.x) % kChannels, lane = static_cast<int>(threadIdx.x) / kChannels;
  const int c = static_cast<int>(blockIdx.x) * kChannels + column;
  float sum = 0;
  if (c < channels) {
    const int wide = (channels / groups + kChannelAlign - 1) / kChannelAlign * kChannelAlign;
    const int at = groups == 1 ? c : c % groups * wide + c / groups;
    for (int b = lane; b < blocks; b += kLanes) sum += partial[int64_t{b} * paddedChannels + at];
  }
  tree[lane][column] = sum;
  for (int half = kLanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) tree[lane][column] += tree[lane + half][column];
  }
  if (lane == 0 && c < channels) gradient[rows ? rows[c] : c] += tree[0][column];
}

// ---------------------------------------------------------------------------------------------------------------------

struct Shape {
  int vectors, columns, rows;
  int64_t blocks, perBlock;
};

Shape shapeOf(int64_t pixels, int paddedChannels) {
  Shape s;
  s.vectors = paddedChannels / kVector;
  s.columns = std::min(s.vectors, kThreads);
  s.rows = kThreads / s.columns;
  const int64_t round = int64_t{s.rows} * kInFlight;
  s.blocks = std::clamp<int64_t>(divideUp(pixels, round), 1, kMaxBlocks);
  s.perBlock = divideUp(divideUp(pixels, s.blocks), round) * round;
  s.blocks = divideUp(pixels, s.perBlock > 0 ? s.perBlock : 1);
  return s;
}

}  // namespace

size_t biasGradientScratch(int64_t pixels, int paddedChannels) {
  if (pixels <= 0 || paddedChannels <= 0) return 0;
  return static_cast<size_t>(shapeOf(pixels, paddedChannels).blocks) * static_cast<size_t>(paddedChannels) *
         sizeof(float);
}

template <typename T>
void biasGradient(const T* dy, float* gradient, const int* rows, int64_t pixels, int paddedChannels, int channels,
                  int groups, void* scratch, cudaStream_t stream) {
  if (pixels <= 0 || channels <= 0) return;
  const Shape s = shapeOf(pixels, paddedChannels);
  float* const partial = static_cast<float*>(scratch);
  const dim3 grid(static_cast<unsigned>(s.blocks), static_cast<unsigned>(divideUp(s.vectors, s.columns)));
  launch(biasPartialKernel<T>, grid, dim3(kThreads), 0, stream, dy, partial, pixels, s.perBlock, s.vectors, s.columns,
         s.rows);
  launch(biasFinishKernel, dim3(static_cast<unsigned>(divideUp(channels, kChannels))), dim3(kChannels * kLanes), 0,
         stream, partial, gradient, rows, static_cast<int>(s.blocks), paddedChannels, channels, groups);
}

template void biasGradient<float>(const float*, float*, const int*, int64_t, int, int, int, void*, cudaStream_t);
template void biasGradient<bf16>(const bf16*, float*, const int*, int64_t, int, int, int, void*, cudaStream_t);

}  // namespace wbsr::cuda

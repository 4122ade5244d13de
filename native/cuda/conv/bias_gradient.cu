// Gradient of a bias: the sum of dy over all pixels, channel by channel. No atomics: blocks of pixels leave partial sums,
// which the end of the pass adds in a fixed order (gradient_sums.h). Sums are kept short at every stage (a run of pixels,
// the runs of a thread, a tree over the threads), so that float32 loses a few bits at most.
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

int biasChunks(int64_t pixels, int paddedChannels) {
  return pixels <= 0 || paddedChannels <= 0 ? 0 : static_cast<int>(shapeOf(pixels, paddedChannels).blocks);
}

template <typename T>
void biasSums(const T* dy, float* partial, int64_t pixels, int paddedChannels, cudaStream_t stream) {
  if (biasChunks(pixels, paddedChannels) == 0) return;
  const Shape s = shapeOf(pixels, paddedChannels);
  const dim3 grid(static_cast<unsigned>(s.blocks), static_cast<unsigned>(divideUp(s.vectors, s.columns)));
  launch(biasPartialKernel<T>, grid, dim3(kThreads), 0, stream, dy, partial, pixels, s.perBlock, s.vectors, s.columns,
         s.rows);
}

template void biasSums<float>(const float*, float*, int64_t, int, cudaStream_t);
template void biasSums<bf16>(const bf16*, float*, int64_t, int, cudaStream_t);

}  // namespace wbsr::cuda

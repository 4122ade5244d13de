// Deterministic sums in two stages for kernels that reduce over pixels: the lanes of a block pairwise, then the blocks'
// partial sums in order. Both orders depend on the shape alone.
#pragma once
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {

// Thread t of kThreads belongs to lane t / step; lane 0 gets the sum over the first `lanes` lanes of what threads with
// the same t % step have. shared (kVector, kThreads). Every thread of the block calls it, with the same lanes and step.
template <int kThreads>
__device__ inline void sumLanes(float (&sum)[kVector], float* shared, int lanes, int step) {
  const int t = static_cast<int>(threadIdx.x), lane = t / step;
  __syncthreads();  // the caller's data there has been read
  for (int live = lanes; live > 1;) {
    const int half = (live + 1) / 2;  // a round writes below the data that it reads
    if (lane >= half && lane < live)
#pragma unroll
      for (int k = 0; k < kVector; ++k) shared[k * kThreads + t] = sum[k];
    __syncthreads();
    if (lane < half && lane + half < live)
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += shared[k * kThreads + t + half * step];
    live = half;
  }
}

// The second stage: a block sums kSumColumns columns of partial (count, stride), thread t the column t % kSumColumns; its
// threads below kSumColumns get the sums, in double, the others 0. Every thread of the block calls it.
constexpr int kSumColumns = 32, kSumLanes = 8, kSumThreads = kSumColumns * kSumLanes;

// partial: the thread's own column, or null when it has none. shared (kSumThreads).
__device__ inline double sumPartials(const float* partial, int count, int64_t stride, double* shared) {
  const int t = static_cast<int>(threadIdx.x);
  double sum = 0;
  if (partial)
#pragma unroll 4
    for (int i = t / kSumColumns; i < count; i += kSumLanes) sum += static_cast<double>(partial[i * stride]);
  shared[t] = sum;
  __syncthreads();
  if (t >= kSumColumns) return 0;
  for (int lane = 1; lane < kSumLanes; ++lane) sum += shared[lane * kSumColumns + t];
  return sum;
}

}  // namespace wbsr::cuda

// Depthwise convolutions: one filter per channel. Too little arithmetic for tensor cores, so they are bound by memory:
// a thread computes one vector of eight channels of kRun neighbouring outputs of a row and reads the weights once.
#include <algorithm>

#include "cuda/conv/kernels.h"
#include "cuda/kernels/activations.h"
#include "cuda/kernels/lane_sums.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRun = 4;          // outputs of a thread
constexpr int kMaxBlocks = 128;  // of the weights' gradient, per tap and group of vectors; each leaves one partial sum

struct Grid {
  int vectors;      // of eight channels, per pixel
  unsigned chunks;  // pieces of a row that a block does
};

// x (N, H, W, vectors x 8), weight (area, vectors x 8), bias (vectors x 8) or null, residual like y or null ->
// y (N, outHeight, outWidth, vectors x 8)
template <typename T, typename F>
__global__ void __launch_bounds__(kThreads)
    forwardKernel(const T* x, const float* weight, const float* bias, const T* residual, T* y, DepthwiseConv c, Grid g,
                  F activation) {
  const int64_t row = blockIdx.x / g.chunks;  // n outHeight + oy
  const int oy = static_cast<int>(row % c.outHeight);
  const int j = static_cast<int>(blockIdx.x % g.chunks) * kThreads + static_cast<int>(threadIdx.x);
  const int vector = j % g.vectors, ox0 = j / g.vectors * kRun;
  if (ox0 >= c.outWidth) return;
  const T* const image = x + row / c.outHeight * c.height * c.width * g.vectors * kVector;
  float sum[kRun][kVector] = {};
  if (bias) {
    float b[kVector];
    load(bias + vector * kVector, b);
#pragma unroll
    for (int i = 0; i < kRun; ++i)
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[i][k] = b[k];
  }
  for (int ky = 0; ky < c.kernel; ++ky) {
    const int iy = oy * c.stride - c.padding + ky;
    if (iy < 0 || iy >= c.height) continue;
    for (int kx = 0; kx < c.kernel; ++kx) {
      float w[kVector];
      load(weight + (int64_t{ky * c.kernel + kx} * g.vectors + vector) * kVector, w);
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        const int ix = (ox0 + i) * c.stride - c.padding + kx;
        if (ix < 0 || ix >= c.width) continue;
        float v[kVector];
        load(image + ((int64_t{iy} * c.width + ix) * g.vectors + vector) * kVector, v);
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[i][k] = fmaf(v[k], w[k], sum[i][k]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    if (ox0 + i >= c.outWidth) continue;
    const int64_t at = ((row * c.outWidth + ox0 + i) * g.vectors + vector) * kVector;
    float other[kVector] = {};
    if (residual) load(residual + at, other);
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[i][k] = activation(sum[i][k]) + other[k];
    store(y + at, sum[i]);
  }
}

// dx (N, H, W, vectors x 8) from dy (N, outHeight, outWidth, vectors x 8), as a gather.
template <typename T>
__global__ void __launch_bounds__(kThreads, 3)
    backwardDataKernel(const T* dy, const float* weight, T* dx, DepthwiseConv c, Grid g) {
  const int64_t row = blockIdx.x / g.chunks;  // n height + iy
  const int iy = static_cast<int>(row % c.height);
  const int j = static_cast<int>(blockIdx.x % g.chunks) * kThreads + static_cast<int>(threadIdx.x);
  const int vector = j % g.vectors, ix0 = j / g.vectors * kRun;
  if (ix0 >= c.width) return;
  const T* const image = dy + row / c.height * c.outHeight * c.outWidth * g.vectors * kVector;
  float sum[kRun][kVector] = {};
  for (int ky = 0; ky < c.kernel; ++ky) {
    const int y = iy + c.padding - ky, oy = y / c.stride;
    if (y < 0 || y % c.stride != 0 || oy >= c.outHeight) continue;
    for (int kx = 0; kx < c.kernel; ++kx) {
      float w[kVector];
      load(weight + (int64_t{ky * c.kernel + kx} * g.vectors + vector) * kVector, w);
#pragma unroll
      for (int i = 0; i < kRun; ++i) {
        const int x = ix0 + i + c.padding - kx, ox = x / c.stride;
        if (x < 0 || x % c.stride != 0 || ox >= c.outWidth) continue;
        float v[kVector];
        load(image + ((int64_t{oy} * c.outWidth + ox) * g.vectors + vector) * kVector, v);
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[i][k] = fmaf(v[k], w[k], sum[i][k]);
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRun; ++i)
    if (ix0 + i < c.width) store(dx + ((row * c.width + ix0 + i) * g.vectors + vector) * kVector, sum[i]);
}

// A block of the weights' gradient: `perBlock` rows of dy, one tap (blockIdx.z), `group` vectors (blockIdx.y).
struct Sums {
  int group;
  int64_t rows, perBlock;
};

// x, dy -> partial (gridDim.x, area, vectors x 8)
template <typename T>
__global__ void __launch_bounds__(kThreads)
    backwardWeightsKernel(const T* x, const T* dy, float* partial, DepthwiseConv c, int vectors, Sums s) {
  __shared__ float shared[kVector * kThreads];
  const int t = static_cast<int>(threadIdx.x), lanes = kThreads / s.group, lane = t / s.group;
  const int vector = static_cast<int>(blockIdx.y) * s.group + t % s.group, tap = static_cast<int>(blockIdx.z);
  const bool active = lane < lanes && vector < vectors;
  const int64_t first = blockIdx.x * s.perBlock, last = min(first + s.perBlock, s.rows);
  float sum[kVector] = {};
  if (active)
    for (int64_t row = first; row < last; ++row) {
      const int iy = static_cast<int>(row % c.outHeight) * c.stride - c.padding + tap / c.kernel;
      if (iy < 0 || iy >= c.height) continue;
      const int64_t from = (row / c.outHeight * c.height + iy) * c.width;
#pragma unroll 2
      for (int ox = lane; ox < c.outWidth; ox += lanes) {
        const int ix = ox * c.stride - c.padding + tap % c.kernel;
        if (ix < 0 || ix >= c.width) continue;
        float v[kVector], g[kVector];
        load(x + ((from + ix) * vectors + vector) * kVector, v);
        load(dy + ((row * c.outWidth + ox) * vectors + vector) * kVector, g);
#pragma unroll
        for (int k = 0; k < kVector; ++k) sum[k] = fmaf(v[k], g[k], sum[k]);
      }
    }
  sumLanes<kThreads>(sum, shared, lanes, s.group);
  if (active && lane == 0) store(partial + ((int64_t{blockIdx.x} * gridDim.z + tap) * vectors + vector) * kVector, sum);
}

// ---------------------------------------------------------------------------------------------------------------------

Grid gridOf(const DepthwiseConv& c, int width) {
  const int vectors = c.channels / kVector;
  return {vectors, static_cast<unsigned>(divideUp(divideUp(width, kRun) * vectors, kThreads))};
}

// Of dy: what a sum of the weights' gradient goes through, and a block's part of it.
int64_t rowsOf(const DepthwiseConv& c) { return int64_t{c.batch} * c.outHeight; }
int64_t rowsPerBlock(const DepthwiseConv& c) { return divideUp(rowsOf(c), std::min<int64_t>(kMaxBlocks, rowsOf(c))); }

}  // namespace

template <typename T>
void depthwiseConv(const DepthwiseConv& c, const T* x, const float* weight, const float* bias, const T* residual, T* y,
                   cudaStream_t stream) {
  const Grid g = gridOf(c, c.outWidth);
  const dim3 grid(static_cast<unsigned>(int64_t{c.batch} * c.outHeight * g.chunks));
  withEnd(c.activation, c.slope, [&](auto f) {
    launch(forwardKernel<T, decltype(f)>, grid, dim3(kThreads), 0, stream, x, weight, bias, residual, y, c, g, f);
  });
}

template <typename T>
void depthwiseConvBackwardData(const DepthwiseConv& c, const T* dy, const float* weight, T* dx, cudaStream_t stream) {
  const Grid g = gridOf(c, c.width);
  const dim3 grid(static_cast<unsigned>(int64_t{c.batch} * c.height * g.chunks));
  launch(backwardDataKernel<T>, grid, dim3(kThreads), 0, stream, dy, weight, dx, c, g);
}

int depthwiseChunks(const DepthwiseConv& c) { return static_cast<int>(divideUp(rowsOf(c), rowsPerBlock(c))); }

template <typename T>
void depthwiseConvBackwardWeights(const DepthwiseConv& c, const T* x, const T* dy, float* partial,
                                  cudaStream_t stream) {
  const int vectors = c.channels / kVector, area = c.kernel * c.kernel;
  Sums s;
  s.group = static_cast<int>(divideUp(vectors, divideUp(vectors, 32)));
  s.rows = rowsOf(c);
  s.perBlock = rowsPerBlock(c);
  const dim3 grid(static_cast<unsigned>(depthwiseChunks(c)), static_cast<unsigned>(divideUp(vectors, s.group)),
                  static_cast<unsigned>(area));
  launch(backwardWeightsKernel<T>, grid, dim3(kThreads), 0, stream, x, dy, partial, c, vectors, s);
}

#define WBSR_INSTANTIATE(T)                                                                                   \
  template void depthwiseConv<T>(const DepthwiseConv&, const T*, const float*, const float*, const T*, T*,    \
                                 cudaStream_t);                                                               \
  template void depthwiseConvBackwardData<T>(const DepthwiseConv&, const T*, const float*, T*, cudaStream_t); \
  template void depthwiseConvBackwardWeights<T>(const DepthwiseConv&, const T*, const T*, float*, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

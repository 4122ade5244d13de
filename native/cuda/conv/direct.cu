// Convolutions between thin or pooled values that small_conv.cu does not support: strides, paddings other than kernel /
// 2, groups. They are rare and small: full float32, from the master weights, one thread per result.
#include "cuda/conv/kernels.h"
#include "cuda/kernels/activations.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline int indexOf(const int* indices, int channel) { return indices ? indices[channel] : channel; }

// Of the weight (O, I / groups, k, k): output channel o, input channel i of o's group.
__device__ inline int64_t weightAt(const DirectConv& c, int o, int i, int tap) {
  return (int64_t{indexOf(c.outIndices, o)} * c.fullIn + indexOf(c.inIndices, i)) * c.kernel * c.kernel + tap;
}

// y (N, outHeight, outWidth, outStride) = conv(x) + bias, before the activation. count: elements of y.
template <typename F>
__global__ void __launch_bounds__(kThreads)
    forwardKernel(const float* x, const float* weight, const float* bias, const float* residual, float* y, DirectConv c,
                  int64_t count, F activation) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const int o = static_cast<int>(at % c.outStride);
  const int64_t pixel = at / c.outStride;
  if (o >= c.outChannels) {
    y[at] = 0.f;
    return;
  }
  const int ox = static_cast<int>(pixel % c.outWidth), oy = static_cast<int>(pixel / c.outWidth % c.outHeight);
  const int64_t image = pixel / c.outWidth / c.outHeight;
  const int ins = c.inChannels / c.groups, firstIn = o / (c.outChannels / c.groups) * ins;
  float sum = bias ? bias[indexOf(c.outIndices, o)] : 0.f;
  for (int ky = 0; ky < c.kernel; ++ky) {
    const int iy = oy * c.stride - c.padding + ky;
    if (iy < 0 || iy >= c.height) continue;
    for (int kx = 0; kx < c.kernel; ++kx) {
      const int ix = ox * c.stride - c.padding + kx;
      if (ix < 0 || ix >= c.width) continue;
      const float* from = x + ((image * c.height + iy) * c.width + ix) * c.inStride + firstIn;
      for (int i = 0; i < ins; ++i) sum = fmaf(from[i], weight[weightAt(c, o, i, ky * c.kernel + kx)], sum);
    }
  }
  y[at] = activation(sum) + (residual ? residual[at] : 0.f);
}

// dx (N, height, width, inStride) as a gather: activation(. + bias) + residual, where it is the forward pass of a
// transposed convolution. count: elements of dx.
template <typename F>
__global__ void __launch_bounds__(kThreads)
    backwardDataKernel(const float* dy, const float* weight, const float* bias, const float* residual, float* dx,
                       DirectConv c, int64_t count, F activation) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const int channel = static_cast<int>(at % c.inStride);
  const int64_t pixel = at / c.inStride;
  if (channel >= c.inChannels) {
    dx[at] = 0.f;
    return;
  }
  const int ix = static_cast<int>(pixel % c.width), iy = static_cast<int>(pixel / c.width % c.height);
  const int64_t image = pixel / c.width / c.height;
  const int ins = c.inChannels / c.groups, outs = c.outChannels / c.groups, group = channel / ins, i = channel % ins;
  float sum = bias ? bias[indexOf(c.biasIndices, channel)] : 0.f;
  for (int ky = 0; ky < c.kernel; ++ky) {
    const int y = iy + c.padding - ky, oy = y / c.stride;
    if (y < 0 || y % c.stride != 0 || oy >= c.outHeight) continue;
    for (int kx = 0; kx < c.kernel; ++kx) {
      const int x = ix + c.padding - kx, ox = x / c.stride;
      if (x < 0 || x % c.stride != 0 || ox >= c.outWidth) continue;
      const float* from = dy + ((image * c.outHeight + oy) * c.outWidth + ox) * c.outStride + group * outs;
      for (int o = 0; o < outs; ++o)
        sum = fmaf(from[o], weight[weightAt(c, group * outs + o, i, ky * c.kernel + kx)], sum);
    }
  }
  dx[at] = activation(sum) + (residual ? residual[at] : 0.f);
}

// The gradient of the weight is added to: a block has one element, (o, i, tap).
__global__ void __launch_bounds__(kThreads)
    backwardWeightsKernel(const float* x, const float* dy, float* gradient, DirectConv c) {
  __shared__ double shared[kThreads];
  const int area = c.kernel * c.kernel, ins = c.inChannels / c.groups;
  const int tap = static_cast<int>(blockIdx.x % area), i = static_cast<int>(blockIdx.x / area % ins);
  const int o = static_cast<int>(blockIdx.x / area / ins), channel = o / (c.outChannels / c.groups) * ins + i;
  const int64_t pixels = int64_t{c.batch} * c.outHeight * c.outWidth;
  double sum = 0;
  for (int64_t pixel = threadIdx.x; pixel < pixels; pixel += kThreads) {
    const int iy = static_cast<int>(pixel / c.outWidth % c.outHeight) * c.stride - c.padding + tap / c.kernel;
    const int ix = static_cast<int>(pixel % c.outWidth) * c.stride - c.padding + tap % c.kernel;
    if (iy < 0 || iy >= c.height || ix < 0 || ix >= c.width) continue;
    const int64_t image = pixel / c.outWidth / c.outHeight;
    sum += static_cast<double>(x[((image * c.height + iy) * c.width + ix) * c.inStride + channel]) *
           static_cast<double>(dy[pixel * c.outStride + o]);
  }
  shared[threadIdx.x] = sum;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) gradient[weightAt(c, o, i, tap)] += static_cast<float>(shared[0]);
}

unsigned blocksFor(int64_t count) { return static_cast<unsigned>(divideUp(count, kThreads)); }

}  // namespace

void directConv(const DirectConv& c, const float* x, const float* weight, const float* bias, const float* residual,
                float* y, cudaStream_t stream) {
  const int64_t count = int64_t{c.batch} * c.outHeight * c.outWidth * c.outStride;
  withEnd(c.activation, c.slope, [&](auto f) {
    launch(forwardKernel<decltype(f)>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, x, weight, bias, residual, y,
           c, count, f);
  });
}

void directConvBackwardData(const DirectConv& c, const float* dy, const float* weight, const float* bias,
                            const float* residual, float* dx, cudaStream_t stream) {
  const int64_t count = int64_t{c.batch} * c.height * c.width * c.inStride;
  withEnd(c.activation, c.slope, [&](auto f) {
    launch(backwardDataKernel<decltype(f)>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, dy, weight, bias,
           residual, dx, c, count, f);
  });
}

void directConvBackwardWeights(const DirectConv& c, const float* x, const float* dy, float* gradient,
                               cudaStream_t stream) {
  const int elements = c.outChannels * (c.inChannels / c.groups) * c.kernel * c.kernel;
  launch(backwardWeightsKernel, dim3(static_cast<unsigned>(elements)), dim3(kThreads), 0, stream, x, dy, gradient, c);
}

}  // namespace wbsr::cuda

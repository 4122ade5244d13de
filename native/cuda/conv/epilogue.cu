// Bias, activation and residual after a convolution, in one pass, if cuDNN did not fuse them.
#include "cuda/conv/kernels.h"

#include "cuda/kernels/activations.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 2;  // vectors; with all threads of an SM resident that is 64 KB in flight per bf16 operand
constexpr int kPerBlock = kThreads * kPerThread;

// f of each channel. bias (vectors x 8) or null.
template <typename F>
struct Channelwise {
  const float* bias;
  F f;
  __device__ void operator()(float (&v)[kVector], const float (&residual)[kVector], int channel) const {
    if (bias) addBias(v, channel);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = f(v[k]) + residual[k];
  }
  __device__ void addBias(float (&v)[kVector], int channel) const {
    float b[kVector];
    load(bias + channel, b);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] += b[k];
  }
};

// A leaky relu with slopes (vectors x 8).
struct Slopes {
  Channelwise<Activate> plain;
  const float* slopes;
  __device__ void operator()(float (&v)[kVector], const float (&residual)[kVector], int channel) const {
    if (plain.bias) plain.addBias(v, channel);
    float s[kVector];
    load(slopes + channel, s);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = (v[k] > 0.f ? v[k] : v[k] * s[k]) + residual[k];
  }
};

template <typename F>
struct Product {
  Channelwise<F> plain;
  float shift;
  __device__ void operator()(float (&v)[kVector], const float (&residual)[kVector], int channel) const {
    if (plain.bias) plain.addBias(v, channel);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = (v[k] + residual[k]) * (plain.f(v[k]) + shift);
  }
};

// out = end(conv, residual). conv, residual, out (pixels, vectors x 8); residual may be null; out may be conv or residual.
// count: vectors.
template <typename Conv, typename Out, typename End>
__global__ void __launch_bounds__(kThreads)
    convEpilogueKernel(const Conv* conv, const Out* residual, Out* out, int64_t count, int vectors, End end) {
  const int64_t block = int64_t{blockIdx.x} * kPerBlock;
  const int phase = static_cast<int>(block % vectors);  // the only division in 64 bits, the same for the whole block
  const int64_t first = block + threadIdx.x;
  Raw<Conv> raw[kPerThread];
  Raw<Out> rawResidual[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at < count) {
      raw[i] = loadRaw(conv + at * kVector);
      if (residual) rawResidual[i] = loadRaw(residual + at * kVector);
    }
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at >= count) continue;
    float v[kVector], other[kVector] = {};
    unpack(raw[i], v);
    if (residual) unpack(rawResidual[i], other);
    end(v, other, (phase + static_cast<int>(threadIdx.x) + i * kThreads) % vectors * kVector);
    store(out + at * kVector, v);
  }
}

}  // namespace

template <typename Conv, typename Out>
void convEpilogue(const Conv* conv, const Epilogue& end, const Out* residual, Out* out, int64_t pixels, int channels,
                  cudaStream_t stream) {
  const int vectors = channels / kVector;
  const int64_t count = pixels * vectors;
  const dim3 grid(static_cast<unsigned>(divideUp(count, kPerBlock)));
  const auto run = [&](auto with) {
    launch(convEpilogueKernel<Conv, Out, decltype(with)>, grid, dim3(kThreads), 0, stream, conv, residual, out, count,
           vectors, with);
  };
  WBSR_CHECK(!end.product || residual);
  if (end.slopes) return run(Slopes{{end.bias, {}}, end.slopes});
  withEnd(end.activation, end.slope, [&](auto f) {
    const Channelwise<decltype(f)> plain{end.bias, f};
    if (end.product)
      run(Product<decltype(f)>{plain, end.shift});
    else
      run(plain);
  });
}

#define WBSR_INSTANTIATE(Conv, Out) \
  template void convEpilogue<Conv, Out>(const Conv*, const Epilogue&, const Out*, Out*, int64_t, int, cudaStream_t);
WBSR_INSTANTIATE(float, float)
WBSR_INSTANTIATE(float, bf16)
WBSR_INSTANTIATE(bf16, float)
WBSR_INSTANTIATE(bf16, bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

// Bias, activation and residual after a convolution, in one pass, if cuDNN did not fuse them.
#include "cuda/conv/kernels.h"

#include "cuda/kernels/activations.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 2;  // vectors; with all threads of an SM resident that is 64 KB in flight per bf16 operand
constexpr int kPerBlock = kThreads * kPerThread;

// out = f(conv + bias) + residual. conv, residual, out (pixels, vectors x 8), bias (vectors x 8) or null, residual may be
// null; out may be conv or residual. count: vectors.
template <typename Conv, typename Out, typename F>
__global__ void __launch_bounds__(kThreads) convEpilogueKernel(const Conv* conv, const float* bias, const Out* residual,
                                                               Out* out, int64_t count, int vectors, F f) {
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
    float v[kVector], other[kVector];
    unpack(raw[i], v);
    if (bias) {
      load(bias + (phase + static_cast<int>(threadIdx.x) + i * kThreads) % vectors * kVector, other);
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] += other[k];
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = f(v[k]);
    if (residual) {
      unpack(rawResidual[i], other);
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] += other[k];
    }
    store(out + at * kVector, v);
  }
}

}  // namespace

template <typename Conv, typename Out>
void convEpilogue(const Conv* conv, const float* bias, const Out* residual, Out* out, int64_t pixels, int channels,
                  ActivationKind kind, float slope, cudaStream_t stream) {
  const int vectors = channels / kVector;
  const int64_t count = pixels * vectors;
  const dim3 grid(static_cast<unsigned>(divideUp(count, kPerBlock)));
  withEnd(kind, slope, [&](auto f) {
    launch(convEpilogueKernel<Conv, Out, decltype(f)>, grid, dim3(kThreads), 0, stream, conv, bias, residual, out,
           count, vectors, f);
  });
}

#define WBSR_INSTANTIATE(Conv, Out)                                                                                \
  template void convEpilogue<Conv, Out>(const Conv*, const float*, const Out*, Out*, int64_t, int, ActivationKind, \
                                        float, cudaStream_t);
WBSR_INSTANTIATE(float, float)
WBSR_INSTANTIATE(float, bf16)
WBSR_INSTANTIATE(bf16, float)
WBSR_INSTANTIATE(bf16, bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

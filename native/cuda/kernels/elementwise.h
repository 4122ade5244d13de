// Elementwise kernels for any functor: of one and two operands, and of several operands and the channel. All are bound
// by memory: a thread has kPerThread vectors in flight, neighbouring threads have neighbouring vectors.
#pragma once
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda::elementwise {

constexpr int kThreads = 256;
constexpr int kPerThread = 2;  // vectors; with all threads of an SM resident that is 64 KB in flight per bf16 operand
constexpr int kPerBlock = kThreads * kPerThread;

// y = f(x), element by element. x (count), y (count), y may be x.
template <typename From, typename To, typename F>
__global__ void __launch_bounds__(kThreads) unaryKernel(const From* x, To* y, int64_t count, F f) {
  const int64_t full = count / kVector;
  const int64_t first = int64_t{blockIdx.x} * kPerBlock + threadIdx.x;
  Raw<From> raw[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i)
    if (first + i * kThreads < full) raw[i] = loadRaw(x + (first + i * kThreads) * kVector);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at < full) {
      float v[kVector];
      unpack(raw[i], v);
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] = f(v[k]);
      store(y + at * kVector, v);
    } else if (at == full) {  // the last, partial vector
      for (int64_t k = full * kVector; k < count; ++k) y[k] = fromFloat<To>(f(toFloat(x[k])));
    }
  }
}

// out = f(a, b), element by element. a, b, out (count); out may be a or b.
template <typename T, typename F>
__global__ void __launch_bounds__(kThreads) binaryKernel(const T* a, const T* b, T* out, int64_t count, F f) {
  const int64_t full = count / kVector;
  const int64_t first = int64_t{blockIdx.x} * kPerBlock + threadIdx.x;
  Raw<T> rawA[kPerThread], rawB[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at < full) {
      rawA[i] = loadRaw(a + at * kVector);
      rawB[i] = loadRaw(b + at * kVector);
    }
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at < full) {
      float va[kVector], vb[kVector];
      unpack(rawA[i], va);
      unpack(rawB[i], vb);
#pragma unroll
      for (int k = 0; k < kVector; ++k) va[k] = f(va[k], vb[k]);
      store(out + at * kVector, va);
    } else if (at == full) {
      for (int64_t k = full * kVector; k < count; ++k) out[k] = fromFloat<T>(f(toFloat(a[k]), toFloat(b[k])));
    }
  }
}

template <int kOperands, typename T>
struct Operands {
  const T* at[kOperands];
};

// f(v, channel) changes v[0], which becomes out; v: a vector of each operand; channel: the first of its channels. operands,
// out (pixels, vectors x 8); out may be one of them. count: vectors.
template <int kOperands, typename T, typename F>
__global__ void __launch_bounds__(kThreads)
    channelKernel(Operands<kOperands, T> operands, T* out, int64_t count, int vectors, F f) {
  const int64_t block = int64_t{blockIdx.x} * kPerBlock;
  const int phase = static_cast<int>(block % vectors);  // the only division in 64 bits, the same for the whole block
  const int64_t first = block + threadIdx.x;
  Raw<T> raw[kPerThread][kOperands];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i)
#pragma unroll
    for (int o = 0; o < kOperands; ++o)
      if (first + i * kThreads < count) raw[i][o] = loadRaw(operands.at[o] + (first + i * kThreads) * kVector);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t at = first + i * kThreads;
    if (at >= count) continue;
    float v[kOperands][kVector];
#pragma unroll
    for (int o = 0; o < kOperands; ++o) unpack(raw[i][o], v[o]);
    f(v, (phase + static_cast<int>(threadIdx.x) + i * kThreads) % vectors * kVector);
    store(out + at * kVector, v[0]);
  }
}

// ---------------------------------------------------------------------------------------------------------------------

// A last vector that is not full has a thread too.
inline unsigned blocksFor(int64_t count) {
  return static_cast<unsigned>(divideUp(divideUp(count, kVector), kPerBlock));
}

template <typename From, typename To, typename F>
void unary(const From* x, To* y, int64_t count, F f, cudaStream_t stream) {
  launch(unaryKernel<From, To, F>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, x, y, count, f);
}

template <typename T, typename F>
void binary(const T* a, const T* b, T* out, int64_t count, F f, cudaStream_t stream) {
  launch(binaryKernel<T, F>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, a, b, out, count, f);
}

// count: elements; channels: padded.
template <int kOperands, typename T, typename F>
void channelwise(Operands<kOperands, T> operands, T* out, int64_t count, int channels, F f, cudaStream_t stream) {
  const int64_t vectors = count / kVector;
  launch(channelKernel<kOperands, T, F>, dim3(static_cast<unsigned>(divideUp(vectors, kPerBlock))), dim3(kThreads), 0,
         stream, operands, out, vectors, channels / kVector, f);
}

}  // namespace wbsr::cuda::elementwise

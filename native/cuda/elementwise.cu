// Elementwise kernels: activations and their backward, sums, casts, the end of a convolution that cuDNN did not fuse,
// and the way between planar RGB and the thin layout. All are bound by memory: a thread has kPerThread vectors in
// flight, neighbouring threads have neighbouring vectors.
#include "cuda/operators.h"

#include <type_traits>

#include "cuda/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 2;  // vectors; with all threads of an SM resident that is 64 KB in flight per bf16 operand
constexpr int kPerBlock = kThreads * kPerThread;

// None, relu and leaky relu are one formula with slope 1, 0 and s. NaN stays NaN.
struct Activate {
  float slope;
  __device__ float operator()(float x) const { return x > 0.f ? x : x * slope; }
};
struct Sigmoid {
  __device__ float operator()(float x) const { return 1.f / (1.f + math::fastExp(-x)); }
};
struct Same {
  __device__ float operator()(float x) const { return x; }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
// The derivative is told by the sign of the output: slopes are not negative.
struct ActivateBackward {
  float slope;
  __device__ float operator()(float dy, float y) const { return y > 0.f ? dy : dy * slope; }
};
struct SigmoidBackward {
  __device__ float operator()(float dy, float y) const { return dy * y * (1.f - y); }
};

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
    } else if (at == full) {  // what does not fill a vector
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

// planar (N, 3, pixels) -> thin (N, pixels, 8), copy the same in T or null. A thread has one pixel; `blocks` per image.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    planarToThinKernel(const float* planar, float* thin, T* copy, int64_t pixels, unsigned blocks) {
  const int64_t image = blockIdx.x / blocks, pixel = int64_t{blockIdx.x % blocks} * kThreads + threadIdx.x;
  if (pixel >= pixels) return;
  const float* from = planar + image * 3 * pixels + pixel;
  const float v[kVector] = {from[0], from[pixels], from[2 * pixels], 0.f, 0.f, 0.f, 0.f, 0.f};
  const int64_t to = (image * pixels + pixel) * kVector;
  store(thin + to, v);
  if (copy) store(copy + to, v);
}

// thin (N, pixels, 8) -> planar (N, 3, pixels)
__global__ void __launch_bounds__(kThreads)
    thinToPlanarKernel(const float* thin, float* planar, int64_t pixels, unsigned blocks) {
  const int64_t image = blockIdx.x / blocks, pixel = int64_t{blockIdx.x % blocks} * kThreads + threadIdx.x;
  if (pixel >= pixels) return;
  const float4 rgb = *reinterpret_cast<const float4*>(thin + (image * pixels + pixel) * kVector);
  float* to = planar + image * 3 * pixels + pixel;
  to[0] = rgb.x;
  to[pixels] = rgb.y;
  to[2 * pixels] = rgb.z;
}

// ---------------------------------------------------------------------------------------------------------------------

// A last vector that is not full has a thread too.
unsigned blocksFor(int64_t count) { return static_cast<unsigned>(divideUp(divideUp(count, kVector), kPerBlock)); }

template <typename From, typename To, typename F>
void unary(const From* x, To* y, int64_t count, F f, cudaStream_t stream) {
  launch(unaryKernel<From, To, F>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, x, y, count, f);
}

template <typename T, typename F>
void binary(const T* a, const T* b, T* out, int64_t count, F f, cudaStream_t stream) {
  launch(binaryKernel<T, F>, dim3(blocksFor(count)), dim3(kThreads), 0, stream, a, b, out, count, f);
}

// Relu's slope is 0 whatever the caller has in `slope`.
float slopeOf(ActivationKind kind, float slope) {
  return kind == ActivationKind::None ? 1.f : kind == ActivationKind::Relu ? 0.f : slope;
}

}  // namespace

template <typename T>
void activation(const T* x, T* y, int64_t count, ActivationKind kind, float slope, cudaStream_t stream) {
  if (kind == ActivationKind::Sigmoid) return unary(x, y, count, Sigmoid{}, stream);
  unary(x, y, count, Activate{slopeOf(kind, slope)}, stream);
}

template <typename T>
void activationBackward(const T* dy, const T* y, T* dx, int64_t count, ActivationKind kind, float slope,
                        cudaStream_t stream) {
  if (kind == ActivationKind::Sigmoid) return binary(dy, y, dx, count, SigmoidBackward{}, stream);
  binary(dy, y, dx, count, ActivateBackward{slopeOf(kind, slope)}, stream);
}

template <typename T>
void add(const T* a, const T* b, T* out, int64_t count, cudaStream_t stream) {
  binary(a, b, out, count, Sum{}, stream);
}

template <typename From, typename To>
void cast(const From* from, To* to, int64_t count, cudaStream_t stream) {
  if constexpr (std::is_same_v<From, To>) {
    if (count > 0)
      WBSR_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(To), cudaMemcpyDeviceToDevice, stream));
  } else {
    unary(from, to, count, Same{}, stream);
  }
}

template <typename Conv, typename Out>
void convEpilogue(const Conv* conv, const float* bias, const Out* residual, Out* out, int64_t pixels, int channels,
                  ActivationKind kind, float slope, cudaStream_t stream) {
  const int vectors = channels / kVector;
  const int64_t count = pixels * vectors;
  const dim3 grid(static_cast<unsigned>(divideUp(count, kPerBlock)));
  if (kind == ActivationKind::Sigmoid)
    return launch(convEpilogueKernel<Conv, Out, Sigmoid>, grid, dim3(kThreads), 0, stream, conv, bias, residual, out,
                  count, vectors, Sigmoid{});
  launch(convEpilogueKernel<Conv, Out, Activate>, grid, dim3(kThreads), 0, stream, conv, bias, residual, out, count,
         vectors, Activate{slopeOf(kind, slope)});
}

template <typename T>
void planarToThin(const float* planar, float* thin, T* copy, int batch, int64_t pixels, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(divideUp(pixels, kThreads));
  launch(planarToThinKernel<T>, dim3(blocks * static_cast<unsigned>(batch)), dim3(kThreads), 0, stream, planar, thin,
         copy, pixels, blocks);
}

void thinToPlanar(const float* thin, float* planar, int batch, int64_t pixels, cudaStream_t stream) {
  const unsigned blocks = static_cast<unsigned>(divideUp(pixels, kThreads));
  launch(thinToPlanarKernel, dim3(blocks * static_cast<unsigned>(batch)), dim3(kThreads), 0, stream, thin, planar,
         pixels, blocks);
}

#define WBSR_INSTANTIATE(T)                                                                                  \
  template void activation<T>(const T*, T*, int64_t, ActivationKind, float, cudaStream_t);                   \
  template void activationBackward<T>(const T*, const T*, T*, int64_t, ActivationKind, float, cudaStream_t); \
  template void add<T>(const T*, const T*, T*, int64_t, cudaStream_t);                                       \
  template void planarToThin<T>(const float*, float*, T*, int, int64_t, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

template void cast<float, bf16>(const float*, bf16*, int64_t, cudaStream_t);
template void cast<bf16, float>(const bf16*, float*, int64_t, cudaStream_t);
template void cast<float, float>(const float*, float*, int64_t, cudaStream_t);

#define WBSR_INSTANTIATE(Conv, Out)                                                                                \
  template void convEpilogue<Conv, Out>(const Conv*, const float*, const Out*, Out*, int64_t, int, ActivationKind, \
                                        float, cudaStream_t);
WBSR_INSTANTIATE(float, float)
WBSR_INSTANTIATE(float, bf16)
WBSR_INSTANTIATE(bf16, float)
WBSR_INSTANTIATE(bf16, bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

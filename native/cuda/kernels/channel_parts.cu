#include "cuda/kernels/channel_parts.h"

#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline float element(const ChannelPart& part, int64_t at) {
  return part.half ? toFloat(static_cast<const bf16*>(part.from)[at]) : static_cast<const float*>(part.from)[at];
}

// A thread has one vector of out. Where eight channels lie together in one part, it reads them as a vector.
template <typename T>
__global__ void __launch_bounds__(kThreads) gatherKernel(const ChannelParts parts, T* out, int64_t count, int vectors) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const int64_t pixel = at / vectors;
  const int channel = static_cast<int>(at - pixel * vectors) * kVector;
  float v[kVector] = {};
  for (int p = 0; p < parts.count; ++p) {
    const ChannelPart& part = parts.parts[p];
    const int shift = channel - part.at;  // of the vector's first channel in the part
    if (shift <= -kVector || shift >= part.count) continue;
    const int64_t from = pixel * part.stride + part.first + shift;
    if (shift >= 0 && shift + kVector <= part.count && (part.first + shift) % kVector == 0) {
      if (part.half)
        load(static_cast<const bf16*>(part.from) + from, v);
      else
        load(static_cast<const float*>(part.from) + from, v);
      continue;
    }
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      if (shift + k >= 0 && shift + k < part.count) v[k] = element(part, from + k);
  }
  store(out + at * kVector, v);
}

}  // namespace

template <typename T>
void gatherChannels(const ChannelParts& parts, T* out, int64_t pixels, int channels, cudaStream_t stream) {
  const int vectors = channels / kVector;
  const int64_t count = pixels * vectors;
  launch(gatherKernel<T>, dim3(static_cast<unsigned>(divideUp(count, kThreads))), dim3(kThreads), 0, stream, parts, out,
         count, vectors);
}

template void gatherChannels<float>(const ChannelParts&, float*, int64_t, int, cudaStream_t);
template void gatherChannels<bf16>(const ChannelParts&, bf16*, int64_t, int, cudaStream_t);

}  // namespace wbsr::cuda

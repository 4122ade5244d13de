#include "cuda/exchange/sums.h"

#include "cuda/runtime.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) addKernel(float* into, const float* values, int64_t count) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < count) into[at] += values[at];
}

__global__ void __launch_bounds__(kThreads) scaleKernel(const float* values, float factor, float* out, int64_t count) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at < count) out[at] = values[at] * factor;
}

dim3 blocksFor(int64_t count) { return dim3(static_cast<unsigned>(divideUp(count, kThreads))); }

}  // namespace

void addFloats(float* into, const float* values, int64_t count, cudaStream_t stream) {
  launch(addKernel, blocksFor(count), dim3(kThreads), 0, stream, into, values, count);
}

void scaleFloats(const float* values, float factor, float* out, int64_t count, cudaStream_t stream) {
  launch(scaleKernel, blocksFor(count), dim3(kThreads), 0, stream, values, factor, out, count);
}

}  // namespace wbsr::cuda

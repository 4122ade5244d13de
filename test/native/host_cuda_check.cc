#include "cuda_check.h"
#include "cuda/runtime.h"
using namespace wbsr; using namespace wbsr::test;
__global__ void reduceKernel(const float* in, float* out, int count) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) sum += in[i];
  for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.f;
    for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffffu, sum, d);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
}
__global__ void reverseKernel(float* x, bool barrier) {
  WBSR_SHARED(float, buffer);
  buffer[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  if (barrier) __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}
__global__ void halfBarrier() { if (threadIdx.x < 40) __syncthreads(); }
int main(int argc, char** argv) {
  const std::string plant = argc > 1 ? argv[1] : "";
  if (plant == "race") { DeviceArray<float> x(randomVector(256, 1)); cuda::launch(reverseKernel, 4, 64, 256, nullptr, x, false); return 0; }
  if (plant == "bounds") { DeviceArray<float> x(randomVector(256, 1)); cuda::launch(reverseKernel, 4, 64, 252, nullptr, x, true); return 0; }
  if (plant == "barrier") { cuda::launch(halfBarrier, 4, 64, 252, nullptr); return 0; }
  const auto in = randomVector(100000, 7);
  DeviceArray<float> x(in), y(50);
  cuda::launch(reduceKernel, 50, 256, 0, nullptr, x, y, 100000);
  std::vector<double> e(50);
  for (int i = 0; i < 100000; ++i) e[i / 256 % 50] += in[i];
  closeTo(y.download(), e, 1e-4, 1e-4, "reduce");
  DeviceArray<float> z(4000); cuda::launch(reduceKernel, 4000, 256, 0, nullptr, x, z, 0);
  return finish();
}

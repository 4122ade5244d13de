// Conversions between types, and between planar RGB and the thin layout.
#include "cuda/kernels/formats.h"

#include <type_traits>

#include "cuda/kernels/elementwise.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

struct Same {
  __device__ float operator()(float x) const { return x; }
};

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

}  // namespace

template <typename From, typename To>
void cast(const From* from, To* to, int64_t count, cudaStream_t stream) {
  if constexpr (std::is_same_v<From, To>) {
    if (count > 0)
      WBSR_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(To), cudaMemcpyDeviceToDevice, stream));
  } else {
    elementwise::unary(from, to, count, Same{}, stream);
  }
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

template void planarToThin<float>(const float*, float*, float*, int, int64_t, cudaStream_t);
template void planarToThin<bf16>(const float*, float*, bf16*, int, int64_t, cudaStream_t);
template void cast<float, bf16>(const float*, bf16*, int64_t, cudaStream_t);
template void cast<bf16, float>(const bf16*, float*, int64_t, cudaStream_t);
template void cast<float, float>(const float*, float*, int64_t, cudaStream_t);

}  // namespace wbsr::cuda

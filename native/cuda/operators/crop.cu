// Crops: the part of each image of a batch that the tail runs on. Each image has an offset of its own, in memory of the
// device, so that one captured graph serves all of them.
#include "core/operators/crop.h"

#include "cuda/kernels/vectors.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

// A copy, whatever the type: in (N, height, width, words), out (N, outHeight, outWidth, words), words of 16 bytes.
__global__ void __launch_bounds__(kThreads)
    cropKernel(const uint4* in, uint4* out, int height, int width, int outHeight, int rowWords, int words,
               const int2* offsets, unsigned chunks) {
  const int64_t row = blockIdx.x / chunks;  // n outHeight + y
  const int j = static_cast<int>(blockIdx.x % chunks) * kThreads + static_cast<int>(threadIdx.x);
  if (j >= rowWords) return;
  const int64_t image = row / outHeight;
  const int2 offset = offsets[image];
  out[row * rowWords + j] = in[((image * height + offset.y + row % outHeight) * width + offset.x) * words + j];
}

}  // namespace

template <typename T>
void crop(const T* in, T* out, int batch, int height, int width, int outHeight, int outWidth, int channels,
          const int2* offsets, cudaStream_t stream) {
  WBSR_CHECK(channels % kVector == 0);
  const int words = channels / kVector * static_cast<int>(sizeof(Raw<T>) / sizeof(uint4)), rowWords = outWidth * words;
  const unsigned chunks = static_cast<unsigned>(divideUp(rowWords, kThreads));
  const dim3 grid(static_cast<unsigned>(int64_t{batch} * outHeight * chunks));
  launch(cropKernel, grid, dim3(kThreads), 0, stream, reinterpret_cast<const uint4*>(in), reinterpret_cast<uint4*>(out),
         height, width, outHeight, rowWords, words, offsets, chunks);
}

template void crop<float>(const float*, float*, int, int, int, int, int, int, const int2*, cudaStream_t);
template void crop<bf16>(const bf16*, bf16*, int, int, int, int, int, int, const int2*, cudaStream_t);

namespace {

using operators::Crop;

void compileCrop(StepCompiler& compiler, const Step& step) {
  const Layout from = compiler.values().layout(step.in[0]), to = compiler.values().layout(step.out);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), &context = compiler.context(), batch = compiler.batch()](auto type) {
                      using T = decltype(type);
                      crop(v.at<T>(step.in[0]), v.at<T>(step.out), batch, from.height, from.width, to.height, to.width,
                           to.paddedChannels, context.cropOffsets.as<int2>(), context.stream);
                    });
}

}  // namespace

void register_crop(Registry& registry) { registry.add(Crop::kKind, compileCrop); }

}  // namespace wbsr::cuda

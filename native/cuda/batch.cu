// Crops of uploaded windows to float HR and LR, flipped and transposed. One block makes one LR row of one crop.
#include "core/math/cubic.h"
#include "cuda/batch.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxTaps = 64;

// The bicubic kernel of a whole factor: all LR pixels use the same weights.
struct Filter {
  int first, taps;  // input samples from i * factor + first on
  double weights[kMaxTaps];
};

// Where source pixel (i, j) of a size x size crop goes: the inverse of flips first, then the transpose.
__device__ inline int64_t placeOf(const CropWindow& crop, int size, int i, int j) {
  const int x = crop.flipX ? size - 1 - i : i, y = crop.flipY ? size - 1 - j : j;
  return crop.transpose ? int64_t{x} * size + y : int64_t{y} * size + x;
}

__device__ inline uint8_t rounded(double value) {
  const double v = value + 0.5;
  return static_cast<uint8_t>(v > 0 ? (v < 255 ? v : 255) : 0);
}

template <typename T>
__device__ inline void storePixel(T* to, float r, float g, float b) {
  const float values[kVector] = {r, g, b, 0.f, 0.f, 0.f, 0.f, 0.f};
  store(to, values);
}

// hr (N, patch, patch, 8). grid: (blocks of pixels, N)
__global__ void __launch_bounds__(kThreads)
    placeHr(const uint8_t* windows, const CropWindow* crops, int patch, float* hr) {
  const CropWindow crop = crops[blockIdx.y];
  const int pixel = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (pixel >= patch * patch) return;
  // One thread per pixel of the result, which has larger pixels: (x, y) of the result comes from (i, j) of the crop.
  const int x = pixel % patch, y = pixel / patch;
  const int tx = crop.transpose ? y : x, ty = crop.transpose ? x : y;
  const int i = crop.flipX ? patch - 1 - tx : tx, j = crop.flipY ? patch - 1 - ty : ty;
  const uint8_t* p = windows + crop.offset + (static_cast<int64_t>(crop.y + j) * crop.stride + crop.x + i) * 3;
  storePixel(hr + (static_cast<int64_t>(blockIdx.y) * patch * patch + pixel) * 8, p[0] * (1.f / 255.f),
             p[1] * (1.f / 255.f), p[2] * (1.f / 255.f));
}

// lr (N, small, small, 8), copy the same. grid: (small rows, N); shared: one row between the passes, (columns, 3) bytes.
template <typename T>
__global__ void __launch_bounds__(kThreads) shrinkRow(const uint8_t* windows, const CropWindow* crops, Filter filter,
                                                      int factor, int small, float* lr, T* copy) {
  WBSR_SHARED(uint8_t, row);
  const CropWindow crop = crops[blockIdx.y];
  const int j = static_cast<int>(blockIdx.x);
  const int64_t image = static_cast<int64_t>(blockIdx.y) * small * small;
  const bool own = crop.lrOffset >= 0;
  if (!own) {
    // Vertical pass over the columns that the horizontal pass reads.
    const int values = ((small - 1) * factor + filter.taps) * 3;
    const uint8_t* top =
        windows + crop.offset +
        (static_cast<int64_t>(crop.y + j * factor + filter.first) * crop.stride + crop.x + filter.first) * 3;
    for (int v = static_cast<int>(threadIdx.x); v < values; v += kThreads) {
      double sum = 0;
      for (int k = 0; k < filter.taps; ++k)
        sum += filter.weights[k] * top[static_cast<int64_t>(k) * crop.stride * 3 + v];
      row[v] = rounded(sum);
    }
    __syncthreads();
  }
  for (int i = static_cast<int>(threadIdx.x); i < small; i += kThreads) {
    uint8_t rgb[3];
    for (int c = 0; c < 3; ++c) {
      if (own) {
        rgb[c] = windows[crop.lrOffset + (static_cast<int64_t>(j) * small + i) * 3 + c];
        continue;
      }
      double sum = 0;
      for (int k = 0; k < filter.taps; ++k) sum += filter.weights[k] * row[(i * factor + k) * 3 + c];
      rgb[c] = rounded(sum);
    }
    const int64_t at = (image + placeOf(crop, small, i, j)) * 8;
    const float r = rgb[0] * (1.f / 255.f), g = rgb[1] * (1.f / 255.f), b = rgb[2] * (1.f / 255.f);
    storePixel(lr + at, r, g, b);
    if (copy) storePixel(copy + at, r, g, b);
  }
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

template <typename T>
void assembleCrops(const uint8_t* windows, const CropWindow* crops, int batch, int patch, int scale, float* hr,
                   float* lr, T* lrCopy, cudaStream_t stream) {
  const int small = patch / scale;
  const double ratio = 1.0 / scale;
  Filter filter{};
  filter.taps = math::cubicTaps(ratio);
  if (filter.taps > kMaxTaps) throw invalidOption("scale", "at most 16 (on a CUDA device)", std::to_string(scale));
  if (small * scale != patch)
    throw invalidOption("patch", "a multiple of the scale " + std::to_string(scale), std::to_string(patch));
  if (batch > kMostImages)
    throw invalidOption("batch", "at most " + std::to_string(kMostImages) + " (on a CUDA device)",
                        std::to_string(batch));
  const double centre = math::cubicCentre(0, ratio);
  filter.first = math::cubicFirst(centre, ratio);
  math::cubicWeights(centre, filter.first, ratio, filter.taps, filter.weights);
  // A tap of weight 0 at the end may lie outside the window.
  while (filter.taps > 1 && filter.weights[filter.taps - 1] == 0) --filter.taps;
  const unsigned blocks = static_cast<unsigned>(divideUp(int64_t{patch} * patch, kThreads)),
                 images = static_cast<unsigned>(batch);
  launch(placeHr, dim3(blocks, images), dim3(kThreads), 0, stream, windows, crops, patch, hr);
  const size_t shared = static_cast<size_t>((small - 1) * scale + filter.taps) * 3;
  launch(shrinkRow<T>, dim3(static_cast<unsigned>(small), images), dim3(kThreads), shared, stream, windows, crops,
         filter, scale, small, lr, lrCopy);
}

template void assembleCrops(const uint8_t*, const CropWindow*, int, int, int, float*, float*, float*, cudaStream_t);
template void assembleCrops(const uint8_t*, const CropWindow*, int, int, int, float*, float*, bf16*, cudaStream_t);

}  // namespace wbsr::cuda

// Kernels before and after the network. All are bound by memory; a thread processes one pixel of 16 to 48 bytes, or a
// few small ones.
#include "core/math/colour.h"
#include "core/math/ramp.h"
#include "cuda/samples.h"
#include "cuda/tiles.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostRows = 65535;  // of a grid
constexpr int kRun = 4;  // neighbouring pixels of a thread that writes stored samples: whole words for every type

// thin (N, h, w, 8), copy the same in T. grid: (blocks of pixels, N)
template <typename T, typename S, int C>
__global__ void __launch_bounds__(kThreads)
    gather(const S* pixels, int pictureWidth, const TileJob* tiles, int height, int width, float* thin, T* copy) {
  const int64_t pixel = int64_t{blockIdx.x} * kThreads + threadIdx.x, area = int64_t{height} * width;
  if (pixel >= area) return;
  const TileJob& tile = tiles[blockIdx.y];
  const int y = static_cast<int>(pixel / width), x = static_cast<int>(pixel % width);
  const Rgb rgb =
      rgbOf<S, C>(reinterpret_cast<const Pixel<S, C>*>(pixels)[int64_t{tile.y + y} * pictureWidth + tile.x + x]);
  const float v[kVector] = {rgb.r, rgb.g, rgb.b, 0.f, 0.f, 0.f, 0.f, 0.f};
  const int64_t at = (blockIdx.y * area + pixel) * kVector;
  store(thin + at, v);
  if (copy) store(copy + at, v);
}

// In units of kSumUnit, to the nearest; beyond +-512 the limit. Not a number becomes 0, as it does in stored samples.
__device__ inline int32_t fixedPoint(float value) {
  const float limit = 536870912.f;  // 2^29: four tiles that meet cannot overflow
  const float scaled = rintf(value * (1.f / kSumUnit));
  return static_cast<int32_t>(scaled > limit ? limit : scaled >= -limit ? scaled : scaled < -limit ? -limit : 0.f);
}

// output (N, outHeight, outWidth, 8). grid: (blocks of columns, rows, N). Integers add up to the same in any order.
__global__ void __launch_bounds__(kThreads)
    blend(const float* output, int outHeight, int outWidth, const TileJob* tiles, int32_t* sums, int32_t* weights,
          int canvasWidth) {
  const TileJob tile = tiles[blockIdx.z];
  const int x = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (x >= tile.width) return;
  const float column = math::rampWeight(x, tile.width, tile.rampLeft, tile.rampRight);
  for (int y = static_cast<int>(blockIdx.y); y < tile.height; y += static_cast<int>(gridDim.y)) {
    const float weight = column * math::rampWeight(y, tile.height, tile.rampTop, tile.rampBottom);
    const float4 rgb = *reinterpret_cast<const float4*>(
        output + ((int64_t{blockIdx.z} * outHeight + tile.outY + y) * outWidth + tile.outX + x) * kVector);
    const int64_t at = int64_t{tile.toY + y} * canvasWidth + tile.toX + x;
    atomicAdd(sums + at * 3, fixedPoint(weight * rgb.x));
    atomicAdd(sums + at * 3 + 1, fixedPoint(weight * rgb.y));
    atomicAdd(sums + at * 3 + 2, fixedPoint(weight * rgb.z));
    atomicAdd(weights + at, fixedPoint(weight));
  }
}

// image::finishRows for one pixel.
template <typename S, int C>
__device__ inline void finishPixel(const int32_t* sum, int32_t weight, float alpha, S* out) {
  // Sums without any tile are 0 and stay 0.
  const float unit = weight > 0 && weight != 1 << 20 ? 1.f / static_cast<float>(weight) : kSumUnit;
  float rgb[3];
  for (int c = 0; c < 3; ++c) rgb[c] = static_cast<float>(sum[c]) * unit;
  if constexpr (C == 2 || C == 4) {
    const float factor = math::unpremultiply<S>(alpha);
    for (int c = 0; c < 3; ++c) rgb[c] *= factor;
    out[C - 1] = math::storedSample<S>(alpha);
  }
  if constexpr (C >= 3) {
    for (int c = 0; c < 3; ++c) out[c] = math::storedSample<S>(rgb[c]);
  } else {
    out[0] = math::storedSample<S>(math::luma(rgb[0], rgb[1], rgb[2]));
  }
}

// The bits of a sample as they are stored.
template <typename S>
__device__ inline uint32_t bitsOf(S sample) {
  if constexpr (sizeof(S) == 4)
    return static_cast<uint32_t>(math::floatBits(sample));
  else
    return sample;
}

// pixels (count, C), written as whole words. Arrays are indexed by constants only: they stay in registers.
template <typename S, int C>
__global__ void __launch_bounds__(kThreads)
    finish(const int32_t* sums, const int32_t* weights, const float* alpha, int64_t count, S* pixels) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kRun;
  if (first >= count) return;
  constexpr int kWords = static_cast<int>(sizeof(S)) * C * kRun / 4;
  constexpr int kPerWord = 4 / static_cast<int>(sizeof(S));
  const int here = static_cast<int>(count - first < kRun ? count - first : kRun);
  int32_t sum[kRun][3], weight[kRun];
  float opacity[kRun];
#pragma unroll
  for (int i = 0; i < kRun; ++i) {
    const int64_t p = first + (i < here ? i : 0);
#pragma unroll
    for (int c = 0; c < 3; ++c) sum[i][c] = sums[p * 3 + c];
    weight[i] = weights[p];
    opacity[i] = alpha ? alpha[p] : 1.f;
  }
  S samples[kRun * C];
#pragma unroll
  for (int i = 0; i < kRun; ++i) finishPixel<S, C>(sum[i], weight[i], opacity[i], samples + i * C);
  if (here == kRun) {
    uint32_t* words = reinterpret_cast<uint32_t*>(pixels + first * C);
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      uint32_t word = 0;
#pragma unroll
      for (int s = 0; s < kPerWord; ++s)
        word |= bitsOf(samples[w * kPerWord + s]) << (8 * static_cast<int>(sizeof(S)) * s);
      words[w] = word;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kRun * C; ++i)
      if (i < here * C) pixels[first * C + i] = samples[i];
  }
}

__global__ void __launch_bounds__(kThreads) toFloats(const int32_t* from, float* to, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < count) to[i] = static_cast<float>(from[i]) * kSumUnit;
}

unsigned blocksFor(int64_t items) { return static_cast<unsigned>(divideUp(items, kThreads)); }

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

template <typename T>
void gatherTiles(const DevicePicture& picture, const TileJob* tiles, int batch, int height, int width, float* thin,
                 T* copy, cudaStream_t stream) {
  const dim3 grid(blocksFor(int64_t{height} * width), static_cast<unsigned>(batch));
  withPixel(picture.type, picture.channels, [&]<typename S, int C>() {
    launch(gather<T, S, C>, grid, dim3(kThreads), 0, stream, static_cast<const S*>(picture.data), picture.width, tiles,
           height, width, thin, copy);
  });
}
template void gatherTiles(const DevicePicture&, const TileJob*, int, int, int, float*, float*, cudaStream_t);
template void gatherTiles(const DevicePicture&, const TileJob*, int, int, int, float*, bf16*, cudaStream_t);

void blendTiles(const float* output, int outHeight, int outWidth, const TileJob* tiles, int batch, int maxWidth,
                int maxHeight, int32_t* sums, int32_t* weights, int canvasWidth, cudaStream_t stream) {
  const dim3 grid(blocksFor(maxWidth), static_cast<unsigned>(maxHeight < kMostRows ? maxHeight : kMostRows),
                  static_cast<unsigned>(batch));
  launch(blend, grid, dim3(kThreads), 0, stream, output, outHeight, outWidth, tiles, sums, weights, canvasWidth);
}

void finishRows(const int32_t* sums, const int32_t* weights, const float* alpha, int64_t count, int channels,
                Sample type, void* pixels, cudaStream_t stream) {
  withPixel(type, channels, [&]<typename S, int C>() {
    launch(finish<S, C>, dim3(blocksFor(divideUp(count, kRun))), dim3(kThreads), 0, stream, sums, weights, alpha, count,
           static_cast<S*>(pixels));
  });
}

void sumsToFloat(const int32_t* sums, const int32_t* weights, float* floatSums, float* floatWeights, int64_t count,
                 cudaStream_t stream) {
  launch(toFloats, dim3(blocksFor(count * 3)), dim3(kThreads), 0, stream, sums, floatSums, count * 3);
  launch(toFloats, dim3(blocksFor(count)), dim3(kThreads), 0, stream, weights, floatWeights, count);
}

}  // namespace wbsr::cuda

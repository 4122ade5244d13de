// The picture side of inference: tiles with halo out of the picture, results blended into rows, rows to pixels.
#pragma once
#include <cstdint>

#include "core/pixels.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// A picture in device memory: (height, width, channels) of `type`.
struct DevicePicture {
  const void* data;
  Sample type;
  int width, height, channels;
};

// The source of image n of a batch, and the part of its result that is blended into the canvas.
struct TileJob {
  int x, y;  // top left of the input in the picture
  // In SR pixels: the part (outX, outY, width, height) of the network's output is added at (toX, toY) of the canvas.
  int outX, outY, width, height, toX, toY;
  int rampLeft, rampTop, rampRight, rampBottom;  // SR pixels
};

// thin (N, h, w, 8) float, copy (may be null) the same in T: RGB in [0, 1], grey repeated, premultiplied where there is
// alpha (as image::toRgbFloat). tiles (batch) on the device. Padding becomes 0.
template <typename T>
void gatherTiles(const DevicePicture& picture, const TileJob* tiles, int batch, int height, int width, float* thin,
                 T* copy, cudaStream_t stream);

// Most tiles of a batch: a dimension of the grids of gatherTiles and blendTiles.
constexpr int kMostTiles = 65535;

// Sums are integers in units of 2^-20, so that they do not depend on the order in which tiles are added. Weights have
// the same unit. sums (rows, width, 3), weights (rows, width).
constexpr float kSumUnit = 1.f / (1 << 20);
// output (N, outHeight, outWidth, 8): the network's result. Adds weight x value of every tile's kept part.
void blendTiles(const float* output, int outHeight, int outWidth, const TileJob* tiles, int batch, int maxWidth,
                int maxHeight, int32_t* sums, int32_t* weights, int canvasWidth, cudaStream_t stream);
// pixels (rows, width, channels) of `type`: as image::finishRows. alpha (rows, width) or null. Pointers to the first row.
void finishRows(const int32_t* sums, const int32_t* weights, const float* alpha, int64_t count, int channels,
                Sample type, void* pixels, cudaStream_t stream);
// For host arrays of sums and weights: float values of both, (count, 3) and (count).
void sumsToFloat(const int32_t* sums, const int32_t* weights, float* floatSums, float* floatWeights, int64_t count,
                 cudaStream_t stream);

}  // namespace wbsr::cuda

// Fused 3 x 3 convolution by Winograd F(4x4, 3x3) (Lavin and Gray, 2016): input transform, products and output
// transform of one block of tiles follow each other while the block is in cache. Compiled once per instruction set.
//
// A tile is 4 x 4 output pixels; tiles are numbered row by row over one image. The value of a tile does not depend on
// which other tiles run in the same call, so results are the same for any batch and any number of threads.
#pragma once
#include <cstdint>

#include "cpu/simd/finish.h"

namespace wbsr::simd {

struct WinogradConv {
  const float* in;       // (blocksIn, h, w, L): one image
  const float* weights;  // as packed by packWinograd()
  Finish finish;         // its residual is addressed as `out`
  float* out;            // output block b starts at outBlocks[b]
  const int64_t* outBlocks;
  int64_t rowStride;    // floats from an output pixel to the one below
  int64_t pixelStride;  // floats from an output pixel to its right neighbour: L, or r L where a pixel shuffle follows
  int blocksIn, blocksOut, h, w;
  int channels;  // of the input's blocksIn * L, those that are not padding, which is at their end
};

// Gradient of the weights from the tiles of one image: the adjoint of the forward transforms, G^T [sum over tiles of
// (A dY A^T) * (B^T d B)] G, a quarter of the multiplications of the direct sum.
struct WinogradGradient {
  const float* in;       // (blocksIn, h, w, L)
  const float* gradOut;  // (blocksOut, h, w, L)
  int blocksIn, blocksOut, h, w;
  int channels;  // of the input, those that are not padding
};

struct Winograd {
  int lanes;
  int group;  // most output blocks whose products share one pass over the transformed input
  // Floats of working memory of one call.
  int64_t (*scratch)(int blocksIn, int blocksOut);
  // Tiles [first, first + count) of the image.
  void (*run)(const WinogradConv& conv, int first, int count, float* scratch);

  int64_t (*gradientScratch)(int blocksIn, int blocksOut);
  // Adds tiles [first, first + count), in their order, to sums (36, channels, blocksOut * L) and to bias (blocksOut * L).
  void (*addGradient)(const WinogradGradient& gradient, int first, int count, float* sums, float* bias, float* scratch);
  // Of one input channel: the sum of `parts` such sums, `stride` floats apart, in their order -> filters (9, blocksOut * L).
  void (*gradientFilters)(const float* sums, int parts, int64_t stride, int channels, int blocksOut, int channel,
                          float* filters);
};

constexpr int kWinogradPoints = 36;  // of a transformed 6 x 6 input tile
inline int winogradTiles(int h, int w) { return (h + 3) / 4 * ((w + 3) / 4); }

// What this processor runs with that many lanes; null where it lacks fused multiply-adds.
const Winograd* winograd(int lanes);

const Winograd* avx512Winograd();
const Winograd* avx2Winograd();
const Winograd* neonWinograd();

}  // namespace wbsr::simd

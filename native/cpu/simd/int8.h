// 3 x 3 convolution of 8-bit activations by 8-bit weights with exact 32-bit sums, for processors with AMX. Activations are
// quantised on their way in and leave as floats, so the values between convolutions stay float32.
//
// A pixel's value does not depend on which rows run in the same call.
#pragma once
#include <cstdint>

#include "cpu/simd/finish.h"

namespace wbsr::simd {

// The bytes of the three neighbours in a row of the quantised input are multiplied in `count` pieces of `bytes` each. The last
// piece may go beyond them, where its weights are zero.
struct Int8Pieces {
  int count, bytes;
};
// Inlined everywhere: a copy compiled for AVX-512 must not serve the rest.
__attribute__((always_inline)) constexpr Int8Pieces int8Pieces(int channels) {
  const int count = (3 * channels + 63) / 64;
  return {count, ((3 * channels + count - 1) / count + 15) / 16 * 16};
}

struct Int8Conv {
  const float* in;  // (blocksIn, h, w, L): one image
  // An activation v of channel c becomes round(v * inverses[c]) + zero, limited to 0 .. 255; beyond the border stands zero.
  const float* inverses;
  int32_t zero;
  const int8_t* weights;   // (blocksOut, 3, pieces, bytes of a piece / 4, L, 4)
  const int32_t* offsets;  // (blocksOut * L); a sum stands for (sum - offset) * scale
  const float* scales;     // (blocksOut * L)
  Finish finish;           // its residual is addressed as `out`
  float* out;              // (blocksOut, h, w, L)
  int blocksIn, blocksOut, h, w;
};

// Weights of one block of outputs on their way to 8 bits.
struct Int8Block {
  const float* dense;    // as Int8Conv::weights
  const float* factors;  // (pieces * bytes) of the columns
  Int8Pieces pieces;
  int8_t* values;  // dense * factor / scale, rounded
  float* scales;   // (L) of the outputs: the largest magnitude becomes 127
  int32_t* sums;   // (L) of the values of an output
};

struct Int8 {
  int lanes;
  // Lowers low[L] and raises high[L] to the smallest and largest values of `count` pixels (count, L).
  void (*range)(const float* pixels, int64_t count, float* low, float* high);
  void (*quantise)(const Int8Block& block);
  // Bytes of working memory of one call of run().
  int64_t (*scratch)(int blocksIn, int rows, int w);
  // Rows [first, first + count) of the image. Lowers low (blocksOut * L) and raises high to what is stored, for the range of the
  // next convolution.
  void (*run)(const Int8Conv& conv, int first, int count, uint8_t* scratch, float* low, float* high);
};

// What this processor runs with that many lanes; null without AMX.
const Int8* int8(int lanes);

const Int8* amxInt8();

}  // namespace wbsr::simd

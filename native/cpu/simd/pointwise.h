// 1 x 1 convolution between blocked values. Its input may be several values, whose channels follow each other: what a
// concatenation before it would copy. Compiled once per instruction set.
//
// A pixel's value does not depend on which pixels run in the same call.
#pragma once
#include <cstdint>

#include "cpu/simd/finish.h"

namespace wbsr::simd {

struct PointwiseConv {
  const float* const* in;  // (blocksIn) blocks of (pixels, L) each
  const float* weights;    // (blocksIn * L, outputs of the group) for each group of outputs
  Finish finish;           // its residual is addressed as `out`
  float* out;              // (blocksOut, pixels, L)
  int64_t pixels;
  int blocksIn, blocksOut;
  int channels;  // of the input's blocksIn * L, those that are not padding, which is at their end
};

struct Pointwise {
  int lanes;
  int group;  // most output blocks whose products share one pass over the input
  // Pixels [first, first + count).
  void (*run)(const PointwiseConv& conv, int64_t first, int64_t count);
};

// What this processor runs with that many lanes; null where it lacks fused multiply-adds.
const Pointwise* pointwise(int lanes);

const Pointwise* avx512Pointwise();
const Pointwise* avx2Pointwise();
const Pointwise* neonPointwise();

}  // namespace wbsr::simd

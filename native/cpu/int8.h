// 3 x 3 convolutions between blocked values in 8 bits (simd/int8.h).
//
// Ranges are those of the values themselves, for each picture of a batch: no calibration is needed, and a result depends
// neither on the other pictures of the batch nor on the threads. A channel with large activations and small weights would
// leave few of the 256 steps to the others, so activations of channel c are divided by f = sqrt(largest activation / largest
// weight) and its weights multiplied by it before they are rounded (SmoothQuant, Xiao et al., ICML 2023, with alpha = 0.5).
#pragma once
#include <vector>

#include "cpu/buffer.h"
#include "cpu/simd/int8.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

// Weights in the order of simd::Int8Conv::weights, not yet quantised.
struct Int8Weights {
  std::vector<float> dense;
  std::vector<float> largest;  // magnitude of each column
  int columns = 0;
};

// dense (rows, columns, 3, 3), both multiples of the lanes.
Int8Weights packInt8(const std::vector<float>& dense, int rows, int columns, int lanes);

// Smallest and largest value of each channel, 0 between them.
struct ChannelRanges {
  std::vector<float> low, high;
};

// One picture's quantisation; kept between calls because of its memory.
struct Int8Scales {
  std::vector<float> factors;   // f of each channel; 0: its activations or weights are all 0
  std::vector<float> inverses;  // of what one step of the quantised activations stands for
  int32_t zero = 0;
  std::vector<float> ofColumns;  // factors as simd::Int8Block takes them
  std::vector<int8_t> weights;
  std::vector<float> scales;
  std::vector<int32_t> offsets;
};

struct Int8Images {
  Layout from, to;  // blocked, of the same height and width
  int batch;
  const float* in;
  const Int8Weights& weights;
  simd::Finish finish;  // residual: like out
  float* out;
  // Of the input, one for each picture, where the step that stored it has found them; null: they are looked for.
  const std::vector<ChannelRanges>* ranges;
};
// Returns the ranges of what it stored. `scratch` grows to what all threads need; `scales` are left as those of the last picture.
std::vector<ChannelRanges> runInt8(const simd::Int8& kernel, const Int8Images& images, Int8Scales& scales,
                                   Buffer& scratch);

}  // namespace wbsr::cpu

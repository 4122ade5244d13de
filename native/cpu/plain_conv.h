// Convolutions by plain loops, for what oneDNN does not serve well: thin values among themselves, pooled ones, and unusual
// strides at thin ends. They run on the calling thread's OpenMP team and give the same result for any number of threads.
#pragma once
#include <cstdint>

#include "cpu/tensor.h"

namespace wbsr::cpu {

// weight (outC, inC, k, k) dense, depthwise (outC, 1, k, k).
struct PlainConv {
  int batch, inC, outC, k, stride, padding;
  bool depthwise;
  Layout from, to;
};
void plainConv(const PlainConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out);
void plainConvBackwardData(const PlainConv& c, const float* gradOut, const float* weight, float* gradIn);
void plainConvBackwardWeights(const PlainConv& c, const float* in, const float* gradOut, float* gradWeight,
                              float* gradBias);

}  // namespace wbsr::cpu

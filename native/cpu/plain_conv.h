// Convolutions by plain loops, for values that oneDNN does not serve well: thin ones and pooled ones (h = w = 1). They
// run on the calling thread's OpenMP team and give the same result for any number of threads.
#pragma once
#include <cstdint>

namespace wbsr::cpu {

// Planar values; weight (outC, inC, k, k) dense.
struct PlainConv {
  int batch, inC, outC, h, w, k;
};
void plainConv(const PlainConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out);
void plainConvBackwardData(const PlainConv& c, const float* gradOut, const float* weight, float* gradIn);
void plainConvBackwardWeights(const PlainConv& c, const float* in, const float* gradOut, float* gradWeight,
                              float* gradBias);

}  // namespace wbsr::cpu

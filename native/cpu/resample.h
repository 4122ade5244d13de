// Separable resizing by sparse taps, and its gradient; for upsample and resizeLike.
#pragma once
#include <vector>

#include "core/interpolation.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

// Input positions and weights of one output coordinate; Interpolation::taps() of them count.
struct Taps {
  int index[4];
  float weight[4];
};
// Of an axis of `in` pixels that becomes one of `out`; num / den: input pixels from one output centre to the next.
std::vector<Taps> tapsOf(const Interpolation& interpolation, int in, int out, int num, int den);

struct Resample {
  int taps;  // per axis
  std::vector<Taps> rows, columns;
};
// from -> to, which differ in height and width only.
void resample(const Resample& resample, const Layout& from, const float* in, const Layout& to, float* out, int batch);
void resampleBackward(const Resample& resample, const Layout& from, float* gradIn, const Layout& to,
                      const float* gradOut, int batch);

}  // namespace wbsr::cpu

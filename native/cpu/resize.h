// Separable resizing of planes, for upsample and resizeLike: output sample i of an axis is a sum of `count` input samples.
#pragma once
#include <vector>

#include "cpu/tensor.h"

namespace wbsr::cpu {

struct Taps {
  int index[4];
  float weight[4];
};

struct Axis {
  int count;  // taps: 1 nearest, 2 bilinear, 4 bicubic
  std::vector<Taps> taps;
};

// Half-pixel centres, edges clamped. factor / divisor: the enlargement.
Axis nearestAxis(int in, int out, int factor, int divisor);
Axis bilinearAxis(int in, int out, int factor, int divisor);
Axis bicubicAxis(int in, int out, int factor, int divisor, float a);

void resize(const Layout& from, const float* in, const Layout& to, float* out, int batch, const Axis& rows,
            const Axis& columns);
// The transpose: gradIn (from) of gradOut (to).
void resizeBackward(const Layout& from, const float* gradOut, const Layout& to, float* gradIn, int batch,
                    const Axis& rows, const Axis& columns);

}  // namespace wbsr::cpu

// How the kept parts of neighbouring regions are blended where they overlap.
#pragma once
#include "core/math/host_device.h"

namespace wbsr::math {

// Weight of column (or row) i of a kept part: a linear rise over its first `before` pixels, a fall over its last `after`.
// The ramps of two neighbours lie on each other and sum to one.
WBSR_HD inline float rampWeight(int i, int size, int before, int after) {
  const int j = size - 1 - i;
  float weight = 1.f;
  if (i < before) weight *= (static_cast<float>(i) + 0.5f) / static_cast<float>(before);
  if (j < after) weight *= (static_cast<float>(j) + 0.5f) / static_cast<float>(after);
  return weight;
}

}  // namespace wbsr::math

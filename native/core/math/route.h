// Difficulty and class of a patch from its gradient vector (method.md 2, 3): one definition for every device.
#pragma once
#include <cmath>

#include "core/math/host_device.h"

namespace wbsr::math {

// vector (4) of gradientVector(): its Euclidean norm.
WBSR_HD inline double difficulty(const double* vector) {
  return std::sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2] + vector[3] * vector[3]);
}

// 1 .. count + 1: 1 + the number of thresholds below the difficulty. thresholds (count), ascending.
WBSR_HD inline int classOf(const double* thresholds, int count, double difficulty) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (thresholds[middle] < difficulty)
      low = middle + 1;
    else
      high = middle;
  }
  return low + 1;
}

}  // namespace wbsr::math

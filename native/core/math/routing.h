// From difficulty to class and from class to subnet (method.md 3 and 6).
#pragma once
#include "core/math/host_device.h"

namespace wbsr::math {

// Class 1 .. classes of a difficulty: the k with t_{k-1} < s <= t_k. thresholds (classes - 1), ascending: t_1 .. t_{K-1}.
WBSR_HD inline int classOf(double difficulty, const double* thresholds, int classes) {
  int k = 1;
  while (k < classes && difficulty > thresholds[k - 1]) ++k;
  return k;
}

// Projection: m = ceil(k M / K) of M subnets in order of cost, as an index from 0.
WBSR_HD inline int subnetOfClass(int k, int classes, int subnets) { return (k * subnets + classes - 1) / classes - 1; }

// Projection under a budget: argmin_m |alpha k C_m / K - target|, the cheaper one of two equals. costs (subnets),
// ascending, in the unit of target.
WBSR_HD inline int subnetOfClassUnderBudget(int k, int classes, const double* costs, int subnets, double alpha,
                                            double target) {
  int best = 0;
  double least = 0;
  for (int m = 0; m < subnets; ++m) {
    const double signedGap = alpha * k * costs[m] / classes - target;
    const double gap = signedGap < 0 ? -signedGap : signedGap;
    if (m == 0 || gap < least) {
      best = m;
      least = gap;
    }
  }
  return best;
}

}  // namespace wbsr::math

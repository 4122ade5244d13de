// Gradient vector of a patch (method.md 2): one definition for sampler, router and users. What is made of the four
// numbers (difficulty, class, subnet) is plain arithmetic on few values and lives in lib/infer/routers.ts.
#pragma once
#include <cmath>

#include "core/math/host_device.h"

namespace wbsr::math {

// Sobel / 8 at the middle of three luma rows (above, here, below); l, c, r: left, centre, right columns.
WBSR_HD inline float sobelX(float al, float ar, float hl, float hr, float bl, float br) {
  return ((ar - al) + 2.f * (hr - hl) + (br - bl)) * 0.125f;
}
WBSR_HD inline float sobelY(float al, float ac, float ar, float bl, float bc, float br) {
  return ((bl - al) + 2.f * (bc - ac) + (br - ar)) * 0.125f;
}

// Sums over the pixels of a patch. double: the variance is a difference of large sums.
struct GradientSums {
  double x = 0, xx = 0, y = 0, yy = 0;
};

// vector (4): mean |Gx|, std |Gx|, mean |Gy|, std |Gy|, population standard deviation.
WBSR_HD inline void gradientVector(const GradientSums& sums, double count, double* vector) {
  const double meanX = sums.x / count, meanY = sums.y / count;
  const double varianceX = sums.xx / count - meanX * meanX, varianceY = sums.yy / count - meanY * meanY;
  vector[0] = meanX;
  vector[1] = varianceX > 0 ? std::sqrt(varianceX) : 0;
  vector[2] = meanY;
  vector[3] = varianceY > 0 ? std::sqrt(varianceY) : 0;
}

}  // namespace wbsr::math

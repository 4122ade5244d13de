// Gradient vector of a patch (method.md 2), the same for sampler, router and users. route.h computes difficulty and
// class from it, lib/routing/ maps classes to subnets.
#pragma once
#include <cmath>

#include "core/math/host_device.h"

namespace wbsr::math {

// 8 x one Sobel filter, from three differences of neighbours: loops over a picture compute each difference once.
WBSR_HD inline float sobelSum(float first, float middle, float last) { return first + 2.f * middle + last; }
constexpr float kSobelUnit = 0.125f;  // a power of 2: scaling sums of gradients instead of each is exact

// Sobel / 8 at the middle of three luma rows (above, here, below); l, c, r: left, centre, right columns.
WBSR_HD inline float sobelX(float al, float ar, float hl, float hr, float bl, float br) {
  return sobelSum(ar - al, hr - hl, br - bl) * kSobelUnit;
}
WBSR_HD inline float sobelY(float al, float ac, float ar, float bl, float bc, float br) {
  return sobelSum(bl - al, bc - ac, br - ar) * kSobelUnit;
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

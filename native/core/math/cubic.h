// Weights of cubic resizing: Keys' kernel, widened when shrinking (antialiasing), normalised per output sample. With
// a = -0.5 those of MATLAB's imresize (protocol.md); enlarging with a = -0.75 those of PyTorch's interpolate.
#pragma once
#include <cmath>

#include "core/math/host_device.h"

namespace wbsr::math {

constexpr double kImresizeA = -0.5;

// Keys' cubic convolution kernel (IEEE TASSP 1981); support |x| < 2. T: float or double.
template <typename T>
WBSR_HD inline T cubicKernel(T x, T a = T(kImresizeA)) {
  const T d = x < 0 ? -x : x;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return 0;
}

// Width of the kernel in input samples; scale = output size / input size of the axis.
WBSR_HD inline double cubicSupport(double scale) { return scale < 1 ? 4 / scale : 4; }

// Taps that always suffice: as many whole numbers as an open interval of that width can hold.
WBSR_HD inline int cubicTaps(double scale) { return static_cast<int>(std::ceil(cubicSupport(scale))); }

// The position of output sample `index` in input samples (half-pixel centres).
WBSR_HD inline double cubicCentre(int index, double scale) { return index / scale + 0.5 * (1 / scale - 1); }

// First input sample with a nonzero weight, possibly outside the input: see borderIndex.
WBSR_HD inline int cubicFirst(double centre, double scale) {
  return static_cast<int>(std::floor(centre - cubicSupport(scale) / 2)) + 1;
}

// weights (taps), normalised to the sum 1.
WBSR_HD inline void cubicWeights(double centre, int first, double scale, int taps, double* weights,
                                 double a = kImresizeA) {
  const double widen = scale < 1 ? scale : 1;
  double sum = 0;
  for (int k = 0; k < taps; ++k) sum += weights[k] = widen * cubicKernel(widen * (centre - (first + k)), a);
  for (int k = 0; k < taps; ++k) weights[k] /= sum;
}

// The index of the sample at position i, which may lie outside 0 .. n-1. Symmetric: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...;
// else the nearest sample.
WBSR_HD inline int borderIndex(int i, int n, bool symmetric) {
  if (i >= 0 && i < n) return i;
  if (!symmetric) return i < 0 ? 0 : n - 1;
  const int period = 2 * n;
  const int j = ((i % period) + period) % period;
  return j < n ? j : period - 1 - j;
}

}  // namespace wbsr::math

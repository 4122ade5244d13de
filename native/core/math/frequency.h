// The frequency term of the training loss: mean absolute error of the real and imaginary parts of the unnormalised
// 2-D DFT of each channel of a patch, over the half of the spectrum that a real signal's DFT is determined by.
//
// Source: Cho et al., MIMO-UNet, ICCV 2021 (all coefficients); over the half as in Sun et al., SAFMN, ICCV 2023, whose
// code takes torch.fft.rfft2.
//
//   E[u, v] = sum_{y, x} e[y, x] exp(-2 pi i (u y / H + v x / W))        e = prediction - target
//   term    = weight * mean over images, channels, u < H, v <= W / 2 of (|Re E| + |Im E|) / 2
//
// The DFT is separable: rows first (over x), then columns (over y). The gradient is the adjoint of both, applied to the
// signs of the coefficients. CPU and CUDA add the same contributions.
//
// Internal linkage, no standard headers: compiled with several instruction sets, see fastmath.h.
#pragma once
#include "core/losses/l1.h"
#include "core/math/host_device.h"

namespace wbsr::math {

// v of E[u, v].
WBSR_HD static inline int frequencyColumns(int width) { return width / 2 + 1; }

// Real numbers that the mean is taken over.
static inline double frequencyCount(double batch, int height, int width) {
  return batch * 3 * 2 * height * frequencyColumns(width);
}

// cos and sin of an angle.
struct Twiddle {
  float cos, sin;
};

// Of the angle 2 pi k / n, 0 <= k < n. Rounded from double; angles that mirror each other give the same bits, and
// multiples of a quarter turn are exact, so that coefficients that are real by symmetry have no imaginary part.
WBSR_HD static inline Twiddle twiddle(int k, int n) {
  long long part = k;  // of a turn in `n` parts, then in 2n, 4n
  double signOfSin = 1, signOfCos = 1;
  if (2 * part > n) part = n - part, signOfSin = -1;
  part *= 2;
  if (2 * part > n) part = n - part, signOfCos = -1;
  part *= 2;
  const bool swapped = 2 * part > n;
  if (swapped) part = n - part;
  // At most an eighth of a turn: Taylor's series to 5e-17.
  const double x = 1.57079632679489661923 * static_cast<double>(part) / n, square = x * x;
  double c = 1, s = 1;
  for (int i = 8; i > 0; --i) {
    c = 1 - square / ((2 * i - 1) * (2 * i)) * c;
    s = 1 - square / ((2 * i) * (2 * i + 1)) * s;
  }
  s *= x;
  return {static_cast<float>(signOfCos * (swapped ? s : c)), static_cast<float>(signOfSin * (swapped ? c : s))};
}

// A complex number, or a pair of gradients by its parts.
struct FrequencyPair {
  float real, imaginary;
};

// What the value e adds to the DFT of its row; t: of the angle of v x / W.
WBSR_HD static inline FrequencyPair frequencyRow(float e, Twiddle t) { return {e * t.cos, -e * t.sin}; }

// What a coefficient r of a row adds to the DFT of its column; t: of the angle of u y / H.
WBSR_HD static inline FrequencyPair frequencyColumn(FrequencyPair r, Twiddle t) {
  return {r.real * t.cos + r.imaginary * t.sin, r.imaginary * t.cos - r.real * t.sin};
}

// The adjoints: what gradients by a coefficient of a column add to those by a coefficient of a row ...
WBSR_HD static inline FrequencyPair frequencyColumnBackward(FrequencyPair g, Twiddle t) {
  return {g.real * t.cos - g.imaginary * t.sin, g.real * t.sin + g.imaginary * t.cos};
}

// ... and what those add to that by e.
WBSR_HD static inline float frequencyRowBackward(FrequencyPair g, Twiddle t) {
  return g.real * t.cos - g.imaginary * t.sin;
}

// Of a part of a coefficient.
WBSR_HD static inline float frequencyValue(float part) { return losses::L1::value(part); }
WBSR_HD static inline float frequencyGradient(float part) { return losses::L1::gradient(part); }

}  // namespace wbsr::math

// exp and log for vectorised loops: plain arithmetic without branches or library calls, so that the compiler makes SSE,
// AVX2 or AVX-512 code of the same loop by its flags alone, and CUDA runs the same formulas.
// Maximal relative errors (test/native/cpu/loss_check.cc): exp 2e-7, log 2e-7. Coefficients: Cephes (S. Moshier), expf and logf.
//
// Everything here has internal linkage (static): one binary contains this header compiled for several instruction sets,
// and the linker must not merge those copies. For the same reason it includes no standard headers.
#pragma once
#include "core/math/host_device.h"

namespace wbsr::math {

WBSR_HD static inline int floatBits(float x) {
  int bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

WBSR_HD static inline float bitsFloat(int bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

// exp(x) with x clamped to [-87, 88]: never 0 and never infinite. NaN stays NaN.
WBSR_HD static inline float fastExp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float rounder = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits
  const float shifted = x * 1.44269504088896341f + rounder;
  const float n = shifted - rounder;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n ln 2, in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * bitsFloat((floatBits(shifted) - 0x4B400000 + 127) << 23);
}

// log(x) of a positive, normal, finite x.
WBSR_HD static inline float fastLog(float x) {
  const int bits = floatBits(x);
  const int exponent = (bits - 0x3F3504F3) >> 23;  // x = m * 2^exponent with m in [sqrt(1/2), sqrt(2))
  const float f = bitsFloat(bits - exponent * (1 << 23)) - 1.0f;
  const float e = static_cast<float>(exponent);
  const float z = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float y = p * f * z;
  y = y - e * 2.12194440e-4f;
  y = y - 0.5f * z;
  return (f + y) + e * 0.693359375f;
}

// The same names in double precision, for code that is templated on the number type: exact library functions.
WBSR_HD static inline double fastExp(double x) { return __builtin_exp(x); }
WBSR_HD static inline double fastLog(double x) { return __builtin_log(x); }

// Correctly rounded; no call, since errno is not set (CMakeLists.txt).
WBSR_HD static inline float squareRoot(float x) { return __builtin_sqrtf(x); }
WBSR_HD static inline double squareRoot(double x) { return __builtin_sqrt(x); }

}  // namespace wbsr::math

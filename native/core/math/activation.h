// The smooth activations and their derivatives, for the CPU's loops and the CUDA kernels. Plain arithmetic on fastExp, so
// that loops are vectorised; absolute errors below 5e-7. Derivatives take the input (silu, gelu) or the output (the others).
#pragma once
#include "core/math/fastmath.h"

namespace wbsr::math {

WBSR_HD static inline float logistic(float x) { return 1.0f / (1.0f + fastExp(-x)); }

WBSR_HD static inline float silu(float x) { return x * logistic(x); }
WBSR_HD static inline float siluDerivative(float x) {
  const float s = logistic(x);
  return s * (1.0f + x * (1.0f - s));
}

// The standard normal distribution function, by Abramowitz and Stegun 7.1.26 (absolute error 1e-7).
WBSR_HD static inline float normalDistribution(float x) {
  const float a = x < 0.0f ? -x : x;
  const float t = 1.0f / (1.0f + 0.3275911f * 0.70710678118654752f * a);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float upper = 0.5f * p * t * fastExp(-0.5f * x * x);
  return x < 0.0f ? upper : 1.0f - upper;
}

WBSR_HD static inline float gelu(float x) { return x * normalDistribution(x); }
WBSR_HD static inline float geluDerivative(float x) {
  return normalDistribution(x) + x * 0.39894228040143268f * fastExp(-0.5f * x * x);
}

WBSR_HD static inline float hyperbolicTangent(float x) { return 1.0f - 2.0f / (1.0f + fastExp(2.0f * x)); }
WBSR_HD static inline float tanhDerivative(float y) { return 1.0f - y * y; }

WBSR_HD static inline float expDerivative(float y) { return y; }
WBSR_HD static inline float reciprocalDerivative(float y) { return -y * y; }

}  // namespace wbsr::math

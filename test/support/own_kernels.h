// What the checks of our own CPU kernels share: reproducible inputs, and in double precision what a kernel does to its
// sums (simd::Finish).
#pragma once
#include <cmath>
#include <vector>

#include "cpu/simd/finish.h"
#include "support/check.h"

namespace wbsr::test {

// n values, uniform in [-1, 1).
inline std::vector<float> noise(size_t n, uint64_t seed) {
  Random random{seed};
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(random.next());
  return v;
}

constexpr float kGate = -0.5f;  // simd::Finish::gate
inline double finished(simd::Finish::Kind kind, double v, double slope, double residual) {
  using Kind = simd::Finish::Kind;
  const double logistic = 1 / (1 + std::exp(-v));
  if (kind == Kind::Gate) return (v + residual) * (logistic + static_cast<double>(kGate));
  return (kind == Kind::Silu ? v * logistic : v > 0 ? v : v * slope) + residual;
}

}  // namespace wbsr::test

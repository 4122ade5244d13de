// BDLoss (Balanced Diversity Loss): the formulas of one pixel, for the CPU's loops and the CUDA kernels.
//
// Source: Yu et al., WBSR, NeurIPS 2024; closed form of Ren et al., Balanced MSE for imbalanced visual regression,
// CVPR 2022 (GAI). y is one value of an HR pixel in [0, 1] (D = 1) or its RGB (D = 3); the Gaussian mixture
// {phi_i, mu_i, Sigma_i} models p_train(y); v = sigma^2 is the variance of the prediction's noise.
//
//   l2 (Balancing::Likelihood):  L = |e|^2 + 2v LSE(x)                      e = prediction - target, x = prediction
//   l1 (Balancing::Clamped):     L = |e|_1 + (2v / c) LSE(clamp(x, 0, 1))   c = fidelityScale
//   LSE(x) = log sum_i phi_i N(x; mu_i, Sigma_i + v I)
//
// The l2 form is the negative log-likelihood -log N(y; x, vI) + LSE(x), times 2v, less a constant. The factor 2v keeps
// the size of a squared error; it is a constant: no gradient passes through it.
//
// The data terms |e|^2 and |e|_1 are element losses (core/losses/).
//
// The l1 form is an approximation. A Laplace likelihood times a Gaussian mixture has no closed form, so the balancing
// term stays Gaussian and only the data term becomes |e|: c|e| equals e^2 at the residual c, and the loss is divided by
// c. But |e| grows linearly while LSE falls quadratically outside the data, so that a prediction could lower the loss by
// going to infinity. Two measures prevent it: (1) outside [0, 1], where no target lies, the
// balancing term is constant (its gradient is 0 there); (2) c is at least 1.1 x the largest slope of 2v LSE over
// [0, 1]^D (core/fidelity_scale.h), so that the slope 1 of the data term exceeds the balancing slope everywhere and
// each prediction's loss has its only minimum at the target. For a distribution of targets the term then shifts the
// minimum from the median towards rare values.
//
// Here: with Sigma_i = U diag(lambda) U^T decomposed once (bdprepare.h), a component is its log factor, its mean and
// the whitening rows u_d^T / sqrt(lambda_d + v); t = whiten (x - mu) gives the Mahalanobis term sum t^2 and, by the
// transpose, the gradient. Nothing is inverted again when sigma changes.
//
// Internal linkage throughout, no standard headers: see fastmath.h.
#pragma once
#include "core/math/fastmath.h"

namespace wbsr::math {

constexpr int maxComponents = 32;

// One component for one sigma.
template <int D, typename T>
struct BdComponent {
  T logFactor;  // log phi - 1/2 sum_d log(2 pi (lambda_d + v))
  T mean[D];
  T whiten[D][D];  // row d: u_d^T / sqrt(lambda_d + v)
  T inverse[D];    // 1 / (lambda_d + v)
  T halfTrace;     // 1/2 sum_d inverse
};

// LSE at one x, with its derivatives.
template <int D, typename T>
struct BdBalance {
  T lse;
  T slope[D];  // dLSE/dx
  T variance;  // dLSE/dv
};

// t = whiten (x - mean); returns sum t^2, the Mahalanobis term.
template <int D, typename T>
WBSR_HD static inline T bdWhiten(const BdComponent<D, T>& c, const T* x, T* t) {
  T sum = 0;
  for (int d = 0; d < D; ++d) {
    T value = 0;
    for (int k = 0; k < D; ++k) value += c.whiten[d][k] * (x[k] - c.mean[k]);
    t[d] = value;
    sum += value * value;
  }
  return sum;
}

// log phi_i N(x; mu_i, Sigma_i + vI)
template <int D, typename T>
WBSR_HD static inline T bdLogit(const BdComponent<D, T>& c, const T* x) {
  T t[D];
  return c.logFactor - T(0.5) * bdWhiten<D, T>(c, x, t);
}

// Adds `share` (responsibility, normalised or not) times the derivatives of the component's log density.
template <int D, typename T>
WBSR_HD static inline void bdAccumulate(const BdComponent<D, T>& c, const T* x, T share, T* slope, T& variance) {
  T t[D];
  bdWhiten<D, T>(c, x, t);
  T curvature = 0;
  for (int d = 0; d < D; ++d) curvature += c.inverse[d] * (t[d] * t[d]);
  for (int k = 0; k < D; ++k) {
    T value = 0;
    for (int d = 0; d < D; ++d) value += c.whiten[d][k] * t[d];
    slope[k] -= share * value;
  }
  variance += share * (T(0.5) * curvature - c.halfTrace);
}

// LSE(x) by subtracting the largest exponent first: no overflow at any finite x.
template <int D, typename T>
WBSR_HD static inline BdBalance<D, T> bdBalance(const BdComponent<D, T>* components, int count, const T* x) {
  T logits[maxComponents];
  T largest = bdLogit<D, T>(components[0], x);
  logits[0] = largest;
  for (int i = 1; i < count; ++i) {
    logits[i] = bdLogit<D, T>(components[i], x);
    largest = logits[i] > largest ? logits[i] : largest;
  }
  BdBalance<D, T> out{};
  T sum = 0;
  for (int i = 0; i < count; ++i) {
    const T share = fastExp(logits[i] - largest);
    sum += share;
    bdAccumulate<D, T>(components[i], x, share, out.slope, out.variance);
  }
  out.lse = largest + fastLog(sum);
  for (int d = 0; d < D; ++d) out.slope[d] /= sum;
  out.variance /= sum;
  return out;
}

// The argument of LSE in the clamped form, and the factor (0 or 1) of its slope there. NaN stays NaN.
template <typename T>
WBSR_HD static inline T bdClamp(T x) {
  return x < 0 ? T(0) : (x > 1 ? T(1) : x);
}
template <typename T>
WBSR_HD static inline T bdInside(T x) {
  return (x < 0 ? T(0) : T(1)) * (x > 1 ? T(0) : T(1));
}

// Factor of LSE in the loss.
template <typename T>
WBSR_HD static inline T bdBalanceScale(bool clamped, T variance, T fidelityScale) {
  return T(2) * variance / (clamped ? fidelityScale : T(1));
}

// dL/dsigma. The derivative of the *unscaled* negative log-likelihood
//   n(sigma) = |e|^2 / (2 sigma^2) + D log sigma + LSE(x; sigma^2),
// times the constant factor that the loss carries (2v, for l1 2v / c): of the same scale as the gradient in the
// prediction, with the factor held fixed. With dn/dv = -|e|^2 / (2v^2) + D / (2v) + dLSE/dv and dv/dsigma = 2 sigma:
// factor x 2 sigma x dn/dv. For l1 the squared residual stays (sigma is a Gaussian's width) and LSE is at clamp(x).
// Arguments are sums over pixels or their means alike.
template <typename T>
WBSR_HD static inline T bdSigmaGradient(T factor, T sigma, T dimension, T squared, T varianceSlope) {
  const T v = sigma * sigma;
  return factor * T(2) * sigma * (dimension / (T(2) * v) - squared / (T(2) * v * v) + varianceSlope);
}

}  // namespace wbsr::math

// Makes the components that bdloss.h evaluates from a mixture: one eigen decomposition, then a cheap step per sigma.
// Host only; separate from bdloss.h, which must not include standard headers.
#pragma once
#include <cmath>
#include <vector>

#include "core/math/bdloss.h"
#include "core/math/eigen3.h"

namespace wbsr::math {

template <int D>
struct BdEigen {
  double logWeight;
  double mean[D];
  double values[D];      // lambda, at least 0
  double vectors[D][D];  // rows
};

// weights (K), means (K, D), covariances (K, D, D). Components of weight 0 are left out.
template <int D>
std::vector<BdEigen<D>> bdDecompose(const double* weights, const double* means, const double* covariances, int count) {
  std::vector<BdEigen<D>> out;
  double total = 0;
  for (int i = 0; i < count; ++i) total += weights[i];
  for (int i = 0; i < count; ++i) {
    if (!(weights[i] > 0)) continue;
    BdEigen<D> e;
    e.logWeight = std::log(weights[i] / total);
    for (int d = 0; d < D; ++d) e.mean[d] = means[i * D + d];
    symmetricEigen<D>(covariances + i * D * D, e.values, e.vectors);
    for (int d = 0; d < D; ++d) e.values[d] = std::fmax(e.values[d], 0);
    out.push_back(e);
  }
  return out;
}

// variance = sigma^2 > 0. lambda + v is kept above 1e-12, so that no float32 intermediate overflows for |x| < 1e12.
template <int D, typename T>
std::vector<BdComponent<D, T>> bdComponents(const std::vector<BdEigen<D>>& eigen, double variance) {
  std::vector<BdComponent<D, T>> out;
  for (const BdEigen<D>& e : eigen) {
    BdComponent<D, T> c{};
    double logDeterminant = 0, trace = 0;
    for (int d = 0; d < D; ++d) {
      const double total = std::fmax(e.values[d] + variance, 1e-12);
      logDeterminant += std::log(2 * 3.14159265358979323846 * total);
      trace += 1 / total;
      c.mean[d] = static_cast<T>(e.mean[d]);
      c.inverse[d] = static_cast<T>(1 / total);
      for (int k = 0; k < D; ++k) c.whiten[d][k] = static_cast<T>(e.vectors[d][k] / std::sqrt(total));
    }
    c.logFactor = static_cast<T>(e.logWeight - 0.5 * logDeterminant);
    c.halfTrace = static_cast<T>(0.5 * trace);
    out.push_back(c);
  }
  return out;
}

}  // namespace wbsr::math

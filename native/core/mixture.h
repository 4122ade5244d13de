// Gaussian mixtures, which model p_train(y) in BDLoss, and their fit by expectation maximisation.
#pragma once
#include <cstdint>
#include <vector>

#include "core/loss_spec.h"

namespace wbsr {

struct MixtureFit {
  Mixture mixture;
  double logLikelihood = 0;  // mean per unit of sample weight
  int iterations = 0;        // done before the gain vanished
};

struct MixtureOptions {
  int dimension = 1;  // 1 or 3
  int components = 8;
  int iterations = 200;       // at most
  double minStd = 4 / 255.0;  // floor of every component's standard deviation along every axis
  uint64_t seed = 1;
};

// samples (count, D); weights (count) of at least 0, or null: all 1. Deterministic, single-threaded. Throws wbsr::Error
// WBSR_INVALID_OPTION for values that are not finite, negative weights, or a total weight of 0. With fewer distinct
// samples than components the components left over have weight 0. Components are ordered by the sum of their mean.
MixtureFit fitMixture(const float* samples, const float* weights, int64_t count, const MixtureOptions& options);

}  // namespace wbsr

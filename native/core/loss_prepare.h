// Prepares a LossSpec for evaluation by a device and makes the report from the device's sums. The same on all devices.
#pragma once
#include <cstdint>
#include <vector>

#include "core/loss_spec.h"
#include "core/math/bdloss.h"

namespace wbsr {

// Throws wbsr::Error WBSR_INVALID_OPTION unless sizes fit together, weights are at least 0 with a positive sum and all
// numbers are finite.
void checkMixture(const Mixture& mixture);

struct PreparedLoss {
  int dimension = 1;  // values of one pixel
  ElementLoss element = ElementLoss::L1;
  bool balanced = false;  // one (D = 1) or three (D = 3) has components
  bool clamped = false;   // the form of the balancing term (losses::Balancing)
  std::vector<math::BdComponent<1, float>> one;
  std::vector<math::BdComponent<3, float>> three;
  double balanceScale = 0;  // factor of LSE
};
// Throws wbsr::Error WBSR_INVALID_OPTION for a spec out of range.
PreparedLoss prepareLoss(const LossSpec& spec);

// Sums over pixels of the whole batch.
struct LossTotals {
  double data = 0, squared = 0, lse = 0;         // of the element loss, of e^2, of LSE
  double dataGradient = 0, balanceGradient = 0;  // absolute values; the balancing one without balanceScale
  double variance = 0;                           // dLSE/dv
};
// No pixels: all 0.
LossSums reportLoss(const LossSpec& spec, const LossTotals& totals, int64_t pixels);

}  // namespace wbsr

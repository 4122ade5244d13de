// The host's part of the loss: makes the kernel's parameters and turns its sums into the report.
#include "cuda/loss.h"

#include <algorithm>

#include "core/loss_prepare.h"

namespace wbsr::cuda {

LossParameters makeLossParameters(const LossSpec& spec, int64_t pixels, float gradientScale) {
  const PreparedLoss loss = prepareLoss(spec);
  LossParameters out;
  out.dimension = loss.dimension;
  out.components = static_cast<int>(loss.one.size() + loss.three.size());
  out.balanced = loss.balanced;
  out.element = loss.element;
  out.clamped = loss.clamped;
  out.gradientScale = static_cast<float>(gradientScale / static_cast<double>(pixels));
  out.balanceScale = static_cast<float>(loss.balanceScale);
  if (loss.dimension == 3)
    std::copy(loss.three.begin(), loss.three.end(), out.mixture.three);
  else
    std::copy(loss.one.begin(), loss.one.end(), out.mixture.one);
  return out;
}

LossSums lossReport(const LossSpec& spec, const double* sums, int64_t pixels) {
  return reportLoss(spec, {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]}, pixels);
}

}  // namespace wbsr::cuda

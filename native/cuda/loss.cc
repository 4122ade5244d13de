// The host's part of the loss: makes the kernel's parameters and turns its sums into the report.
#include "cuda/loss.h"

#include <algorithm>

#include "core/loss_prepare.h"
#include "core/math/frequency.h"

namespace wbsr::cuda {

LossCounts countLoss(const LossSpec& spec, int batch, int height, int width) {
  const int64_t pixels = int64_t{batch} * height * width;
  LossCounts out;
  out.pixels = spec.balanced && spec.dimension == 3 ? pixels : pixels * 3;
  if (spec.frequency > 0) out.coefficients = math::frequencyCount(batch, height, width);
  return out;
}

LossParameters makeLossParameters(const LossSpec& spec, const LossCounts& counts, float gradientScale) {
  const PreparedLoss loss = prepareLoss(spec);
  LossParameters out;
  out.dimension = loss.dimension;
  out.components = static_cast<int>(loss.one.size() + loss.three.size());
  out.balanced = loss.balanced;
  out.element = loss.element;
  out.clamped = loss.clamped;
  out.gradientScale = static_cast<float>(gradientScale / static_cast<double>(counts.pixels));
  out.balanceScale = static_cast<float>(loss.balanceScale);
  if (counts.coefficients > 0) {
    out.frequencyScale = spec.frequency / counts.coefficients;
    out.frequencyGradient = static_cast<float>(gradientScale * out.frequencyScale);
  }
  if (loss.dimension == 3)
    std::copy(loss.three.begin(), loss.three.end(), out.mixture.three);
  else
    std::copy(loss.one.begin(), loss.one.end(), out.mixture.one);
  return out;
}

LossSums lossReport(const LossSpec& spec, const double* sums, int64_t pixels) {
  LossSums out = reportLoss(spec, {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]}, pixels);
  out.frequency = sums[kFrequencySum];
  out.loss += out.frequency;
  return out;
}

}  // namespace wbsr::cuda

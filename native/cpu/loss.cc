#include "cpu/loss.h"

#include <algorithm>

#include "core/loss_prepare.h"
#include "cpu/loss_kernels.h"

namespace wbsr::cpu {
namespace {

// `slices` runs of `length` pixels; value d of pixel p in slice s is at [(s * dimension + d) * length + p].
LossSums evaluateSlices(LossKernel kernel, const LossSpec& spec, const float* prediction, const float* target,
                        int64_t slices, int64_t length, float* gradient, float gradientScale) {
  const PreparedLoss loss = prepareLoss(spec);
  const int dimension = loss.dimension;
  const int64_t pixels = slices * length;

  LossKernelArguments shared{};
  shared.dimension = dimension;
  shared.element = loss.element;
  shared.gradientScale = static_cast<float>(gradientScale / static_cast<double>(pixels));
  shared.balance1 = loss.one.data();
  shared.balance3 = loss.three.data();
  shared.components = static_cast<int>(loss.one.size() + loss.three.size());
  shared.balanceScale = static_cast<float>(loss.balanceScale);

  const int64_t perSlice = (length + lossChunk - 1) / lossChunk, chunks = slices * perSlice;
  std::vector<LossKernelSums> partial(static_cast<size_t>(chunks));
#pragma omp parallel for schedule(static) if (chunks >= 16)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    LossKernelArguments a = shared;
    const int64_t slice = chunk / perSlice, begin = chunk % perSlice * lossChunk;
    a.count = std::min<int64_t>(lossChunk, length - begin);
    for (int d = 0; d < dimension; ++d) {
      const int64_t offset = (slice * dimension + d) * length + begin;
      a.prediction[d] = prediction + offset;
      a.target[d] = target + offset;
      a.gradient[d] = gradient ? gradient + offset : nullptr;
    }
    kernel(a, &partial[static_cast<size_t>(chunk)]);
  }

  LossTotals sums;
  for (const LossKernelSums& p : partial) {
    sums.data += p.data;
    sums.squared += p.squared;
    sums.lse += p.lse;
    sums.dataGradient += p.dataGradient;
    sums.balanceGradient += p.balanceGradient;
    sums.variance += p.variance;
  }
  return reportLoss(spec, sums, pixels);
}

}  // namespace

LossSums evaluateLossWith(LossKernel kernel, const LossSpec& spec, const float* prediction, const float* target,
                          int64_t batch, int64_t plane, float* gradient, float gradientScale) {
  if (spec.balanced && spec.dimension == 3)
    return evaluateSlices(kernel, spec, prediction, target, batch, plane, gradient, gradientScale);
  return evaluateSlices(kernel, spec, prediction, target, 1, batch * 3 * plane, gradient, gradientScale);
}

LossSums evaluateLoss(const LossSpec& spec, const float* prediction, const float* target, int64_t batch, int64_t plane,
                      float* gradient, float gradientScale) {
  return evaluateLossWith(lossKernels().front().kernel, spec, prediction, target, batch, plane, gradient,
                          gradientScale);
}

LossSums evaluateLossInterleaved(const LossSpec& spec, const float* prediction, const float* target, int64_t pixels,
                                 float* gradient, float gradientScale) {
  const LossKernel kernel = lossKernels().front().kernel;
  if (!spec.balanced || spec.dimension != 3) {
    const int64_t values = pixels * spec.dimension;
    return evaluateSlices(kernel, spec, prediction, target, 1, values, gradient, gradientScale);
  }
  std::vector<float> planar(static_cast<size_t>(pixels * 9));
  float* const x = planar.data();
  float* const y = x + pixels * 3;
  float* const g = y + pixels * 3;
  for (int64_t p = 0; p < pixels; ++p) {
    for (int d = 0; d < 3; ++d) {
      x[d * pixels + p] = prediction[p * 3 + d];
      y[d * pixels + p] = target[p * 3 + d];
    }
  }
  const LossSums sums = evaluateSlices(kernel, spec, x, y, 1, pixels, gradient ? g : nullptr, gradientScale);
  if (gradient)
    for (int64_t p = 0; p < pixels; ++p)
      for (int d = 0; d < 3; ++d) gradient[p * 3 + d] = g[d * pixels + p];
  return sums;
}

}  // namespace wbsr::cpu

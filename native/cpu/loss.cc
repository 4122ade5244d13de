#include "cpu/loss.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/loss_prepare.h"
#include "core/math/bdprepare.h"

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
  shared.l1 = loss.l1;
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

// Largest |dLSE/dx_d| over [0, 1]^D: a grid, then from its best points a search with shrinking steps. The grid is finer
// than half the smallest standard deviation the mixture may have (4/255) for D = 1; for D = 3 the search makes up for it.
template <int D>
double largestSlope(const Mixture& mixture, double variance) {
  const auto components = math::bdComponents<D, double>(
      math::bdDecompose<D>(mixture.weights.data(), mixture.means.data(), mixture.covariances.data(),
                           static_cast<int>(mixture.weights.size())),
      variance);
  const int count = static_cast<int>(components.size());
  const auto slope = [&](const std::array<double, D>& x) {
    const math::BdBalance<D, double> b = math::bdBalance<D, double>(components.data(), count, x.data());
    double largest = 0;
    for (int d = 0; d < D; ++d) largest = std::max(largest, std::fabs(b.slope[d]));
    return largest;
  };
  const int side = D == 1 ? 1025 : 21;
  struct Point {
    double slope;
    std::array<double, D> x;
  };
  std::vector<Point> points;
  int total = 1;
  for (int d = 0; d < D; ++d) total *= side;
  for (int n = 0; n < total; ++n) {
    Point p;
    for (int d = 0, rest = n; d < D; ++d, rest /= side) p.x[d] = static_cast<double>(rest % side) / (side - 1);
    p.slope = slope(p.x);
    points.push_back(p);
  }
  const int starts = 24;
  std::partial_sort(points.begin(), points.begin() + starts, points.end(),
                    [](const Point& a, const Point& b) { return a.slope > b.slope; });
  double best = 0;
  for (int start = 0; start < starts; ++start) {
    Point p = points[static_cast<size_t>(start)];
    for (double reach = 1.0 / (side - 1); reach > 1e-4; reach /= 2) {
      for (bool better = true; better;) {
        better = false;
        for (int d = 0; d < D; ++d) {
          for (double sign : {-1.0, 1.0}) {
            Point q = p;
            q.x[d] = std::clamp(q.x[d] + sign * reach, 0.0, 1.0);
            q.slope = slope(q.x);
            if (q.slope > p.slope) {
              p = q;
              better = true;
            }
          }
        }
      }
    }
    best = std::max(best, p.slope);
  }
  return best;
}

std::vector<NamedLossKernel> findKernels() {
  std::vector<NamedLossKernel> out;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    out.push_back({"avx512", lossKernelAvx512});
  if (avx2) out.push_back({"avx2", lossKernelAvx2});
#endif
  out.push_back({"base", lossKernelBase});
  return out;
}

}  // namespace

const std::vector<NamedLossKernel>& lossKernels() {
  static const std::vector<NamedLossKernel> kernels = findKernels();
  return kernels;
}

LossSums evaluateLossWith(LossKernel kernel, const LossSpec& spec, const float* prediction, const float* target,
                          int64_t batch, int64_t plane, float* gradient, float gradientScale) {
  if (spec.kind == LossSpec::BD && spec.dimension == 3)
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
  if (spec.kind != LossSpec::BD || spec.dimension != 3) {
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

double fidelityScale(const LossSpec& spec, double typicalResidual) {
  if (!(spec.sigma > 0) || !std::isfinite(spec.sigma)) throw Error("WBSR_INVALID_OPTION", "Expected a sigma above 0");
  if (!(typicalResidual > 0) || !std::isfinite(typicalResidual))
    throw Error("WBSR_INVALID_OPTION", "Expected a typical residual above 0");
  checkMixture(spec.mixture);
  const double variance = static_cast<double>(spec.sigma) * spec.sigma;
  const double slope =
      spec.mixture.dimension == 1 ? largestSlope<1>(spec.mixture, variance) : largestSlope<3>(spec.mixture, variance);
  return std::max(typicalResidual, 1.1 * 2 * variance * slope);
}

}  // namespace wbsr::cpu

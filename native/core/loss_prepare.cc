#include "core/loss_prepare.h"

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/math/bdprepare.h"

namespace wbsr {
namespace {

[[noreturn]] void invalid(const std::string& message) { throw Error("WBSR_INVALID_OPTION", message); }

bool clamped(const LossSpec& spec) { return spec.balanced && balancingOf(spec.element) == losses::Balancing::Clamped; }

double factorOf(const LossSpec& spec) {
  const double variance = static_cast<double>(spec.sigma) * spec.sigma;
  return math::bdBalanceScale<double>(clamped(spec), variance, spec.fidelityScale);
}

}  // namespace

void checkMixture(const Mixture& mixture) {
  const size_t k = mixture.weights.size(), d = static_cast<size_t>(mixture.dimension);
  if (d != 1 && d != 3) invalid("Expected 1 or 3 for the mixture's dimension");
  if (k < 1 || k > static_cast<size_t>(math::maxComponents))
    invalid("Expected 1 to " + std::to_string(math::maxComponents) + " mixture components");
  if (mixture.means.size() != k * d || mixture.covariances.size() != k * d * d)
    invalid("Expected (K, D) means and (K, D, D) covariances for K mixture weights");
  double sum = 0;
  for (double w : mixture.weights) {
    if (!(w >= 0) || !std::isfinite(w)) invalid("Expected mixture weights that are finite and at least 0");
    sum += w;
  }
  if (!(sum > 0)) invalid("Expected mixture weights with a positive sum");
  for (double m : mixture.means)
    if (!std::isfinite(m)) invalid("Expected finite mixture means");
  for (double c : mixture.covariances)
    if (!std::isfinite(c)) invalid("Expected finite mixture covariances");
}

PreparedLoss prepareLoss(const LossSpec& spec) {
  PreparedLoss out;
  out.element = spec.element;
  out.balanced = spec.balanced;
  out.clamped = clamped(spec);
  if (!out.balanced) return out;
  if (balancingOf(spec.element) == losses::Balancing::None)
    invalid("Expected an element loss that a balancing term can be added to");
  out.dimension = spec.dimension;
  if (!(spec.sigma > 0) || !std::isfinite(spec.sigma)) invalid("Expected a sigma above 0");
  if (out.clamped && (!(spec.fidelityScale > 0) || !std::isfinite(spec.fidelityScale)))
    invalid("Expected a fidelityScale above 0");
  checkMixture(spec.mixture);
  if (spec.mixture.dimension != spec.dimension) invalid("Expected a mixture of the loss's dimension");
  const Mixture& m = spec.mixture;
  const int count = static_cast<int>(m.weights.size());
  const double variance = static_cast<double>(spec.sigma) * spec.sigma;
  if (spec.dimension == 1)
    out.one = math::bdComponents<1, float>(
        math::bdDecompose<1>(m.weights.data(), m.means.data(), m.covariances.data(), count), variance);
  else
    out.three = math::bdComponents<3, float>(
        math::bdDecompose<3>(m.weights.data(), m.means.data(), m.covariances.data(), count), variance);
  out.balanceScale = factorOf(spec);
  return out;
}

LossSums reportLoss(const LossSpec& spec, const LossTotals& totals, int64_t count) {
  LossSums out;
  if (count <= 0) return out;
  const bool balanced = spec.balanced;
  const int dimension = balanced ? spec.dimension : 1;
  const double factor = balanced ? factorOf(spec) : 0, pixels = static_cast<double>(count);
  out.data = totals.data / pixels;
  out.balance = factor * totals.lse / pixels;
  out.loss = out.data + out.balance;
  out.dataGradient = totals.dataGradient / (pixels * dimension);
  out.balanceGradient = factor * totals.balanceGradient / (pixels * dimension);
  if (balanced)
    out.sigmaGradient =
        math::bdSigmaGradient<double>(factor, spec.sigma, dimension, totals.squared / pixels, totals.variance / pixels);
  return out;
}

}  // namespace wbsr

#include "core/loss_prepare.h"

#include <cmath>
#include <string>

#include "core/error.h"
#include "core/math/bdprepare.h"

namespace wbsr {
namespace {

bool clamped(const LossSpec& spec) { return spec.balanced && balancingOf(spec.element) == losses::Balancing::Clamped; }

double factorOf(const LossSpec& spec) {
  const double variance = static_cast<double>(spec.sigma) * spec.sigma;
  return math::bdBalanceScale<double>(clamped(spec), variance, spec.fidelityScale);
}

}  // namespace

void checkMixture(const Mixture& mixture) {
  const size_t k = mixture.weights.size(), d = static_cast<size_t>(mixture.dimension);
  const auto invalid = [](const std::string& part, const std::string& expected, const std::string& received) {
    throw invalidOption("loss.mixture" + part, expected, received);
  };
  if (d != 1 && d != 3) invalid(".dimension", "1 or 3", std::to_string(mixture.dimension));
  if (k < 1 || k > static_cast<size_t>(math::maxComponents))
    invalid(".weights", "1 to " + std::to_string(math::maxComponents) + " mixture components", std::to_string(k));
  if (mixture.means.size() != k * d || mixture.covariances.size() != k * d * d)
    invalid("", "(K, D) means and (K, D, D) covariances for K = " + std::to_string(k) + ", D = " + std::to_string(d),
            std::to_string(mixture.means.size()) + " and " + std::to_string(mixture.covariances.size()) + " numbers");
  double sum = 0;
  for (double w : mixture.weights) {
    if (!(w >= 0) || !std::isfinite(w)) invalid(".weights", "finite numbers of at least 0", shown(w));
    sum += w;
  }
  if (!(sum > 0)) invalid(".weights", "numbers with a positive sum", shown(sum));
  for (double m : mixture.means)
    if (!std::isfinite(m)) invalid(".means", "finite numbers", shown(m));
  for (double c : mixture.covariances)
    if (!std::isfinite(c)) invalid(".covariances", "finite numbers", shown(c));
}

PreparedLoss prepareLoss(const LossSpec& spec) {
  PreparedLoss out;
  out.element = spec.element;
  out.balanced = spec.balanced;
  out.clamped = clamped(spec);
  if (!out.balanced) return out;
  if (balancingOf(spec.element) == losses::Balancing::None)
    throw invalidOption("loss.fidelity", "a loss that a balancing term can be added to",
                        elementLosses[static_cast<int>(spec.element)].name);
  out.dimension = spec.dimension;
  if (!(spec.sigma > 0) || !std::isfinite(spec.sigma))
    throw invalidOption("loss.sigma", "a number above 0", shown(spec.sigma));
  if (out.clamped && (!(spec.fidelityScale > 0) || !std::isfinite(spec.fidelityScale)))
    throw invalidOption("loss.fidelityScale", "a number above 0", shown(spec.fidelityScale));
  checkMixture(spec.mixture);
  if (spec.mixture.dimension != spec.dimension)
    throw invalidOption("loss.mixture", "a mixture of dimension " + std::to_string(spec.dimension),
                        "one of dimension " + std::to_string(spec.mixture.dimension));
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

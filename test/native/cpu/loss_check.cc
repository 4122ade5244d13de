// Checks of the loss formulas, their vector paths, Adam and the mixture fit. Prints what failed; exit code 1 then.
// With the argument "speed" it prints the time of one evaluation instead.
#include <omp.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fidelity_scale.h"
#include "core/math/adam.h"
#include "core/math/bdprepare.h"
#include "core/math/fastmath.h"
#include "cpu/loss.h"
#include "cpu/loss_kernels.h"
#include "support/check.h"
#include "support/element_losses.h"

using namespace wbsr;
using cpu::LossSpec;
using cpu::LossSums;
using test::check;
using test::ElementReference;
using test::referenceOf;

namespace {

void near(double got, double wanted, double tolerance, const std::string& what) {
  char text[200];
  std::snprintf(text, sizeof text, ": got %.9g, wanted %.9g, tolerance %.3g", got, wanted, tolerance);
  check(std::fabs(got - wanted) <= tolerance, what + text);
}

// A mixture with unequal, for D = 3 correlated components.
Mixture someMixture(int dimension, int components = 8) {
  Mixture m;
  m.dimension = dimension;
  std::mt19937 random(5);
  std::uniform_real_distribution<double> uniform(0, 1);
  double total = 0;
  for (int k = 0; k < components; ++k) total += k + 1;
  for (int k = 0; k < components; ++k) {
    m.weights.push_back((k + 1) / total);
    double factor[3][3] = {};
    for (int i = 0; i < dimension; ++i) {
      m.means.push_back(0.05 + 0.9 * uniform(random));
      for (int j = 0; j < i; ++j) factor[i][j] = 0.1 * (uniform(random) - 0.5);
      factor[i][i] = 0.02 + 0.08 * uniform(random);
    }
    for (int i = 0; i < dimension; ++i) {
      for (int j = 0; j < dimension; ++j) {
        double sum = 0;
        for (int l = 0; l < 3; ++l) sum += factor[i][l] * factor[j][l];
        m.covariances.push_back(sum);
      }
    }
  }
  return m;
}

// ---- The plain reference: textbook densities in double, by cofactors, nothing shared with bdloss.h.

double logNormal(const Mixture& m, int k, const double* x, double v) {
  const int D = m.dimension;
  const double* s = &m.covariances[k * D * D];
  const double pi = std::acos(-1.0);
  if (D == 1) {
    const double V = s[0] + v, e = x[0] - m.means[k];
    return -0.5 * std::log(2 * pi * V) - e * e / (2 * V);
  }
  double a[3][3], e[3];
  for (int i = 0; i < 3; ++i) {
    e[i] = x[i] - m.means[k * 3 + i];
    for (int j = 0; j < 3; ++j) a[i][j] = s[i * 3 + j] + (i == j ? v : 0);
  }
  double cofactor[3][3], determinant = 0, quadratic = 0;
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      cofactor[i][j] = a[(i + 1) % 3][(j + 1) % 3] * a[(i + 2) % 3][(j + 2) % 3] -
                       a[(i + 1) % 3][(j + 2) % 3] * a[(i + 2) % 3][(j + 1) % 3];
  for (int j = 0; j < 3; ++j) determinant += a[0][j] * cofactor[0][j];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) quadratic += e[i] * cofactor[i][j] / determinant * e[j];
  return -0.5 * (3 * std::log(2 * pi) + std::log(determinant)) - 0.5 * quadratic;
}

double referenceLse(const Mixture& m, const double* x, double v) {
  std::vector<double> logits;
  double largest = -1e300, sum = 0;
  for (size_t k = 0; k < m.weights.size(); ++k) {
    if (m.weights[k] <= 0) continue;
    logits.push_back(std::log(m.weights[k]) + logNormal(m, static_cast<int>(k), x, v));
    largest = std::max(largest, logits.back());
  }
  for (double l : logits) sum += std::exp(l - largest);
  return largest + std::log(sum);
}

struct Terms {
  double data = 0, balance = 0;
};

// The terms of one pixel; sigma enters LSE as `sigma` and the factor in front as `factorSigma`.
Terms referenceTerms(const LossSpec& s, const double* x, const double* y, double sigma, double factorSigma) {
  Terms out;
  const bool l1 = s.element == ElementLoss::L1;
  double at[3];
  for (int d = 0; d < s.dimension; ++d) {
    const double e = x[d] - y[d];
    out.data += referenceOf(s.element).value(e);
    at[d] = l1 ? std::min(std::max(x[d], 0.0), 1.0) : x[d];
  }
  out.balance =
      2 * factorSigma * factorSigma / (l1 ? s.fidelityScale : 1.0) * referenceLse(s.mixture, at, sigma * sigma);
  return out;
}

double referenceLoss(const LossSpec& s, const double* x, const double* y) {
  const Terms t = referenceTerms(s, x, y, s.sigma, s.sigma);
  return t.data + t.balance;
}

LossSpec bdSpec(int dimension, ElementLoss fidelity, float sigma) {
  LossSpec s;
  s.balanced = true;
  s.element = fidelity;
  s.dimension = dimension;
  s.sigma = sigma;
  s.mixture = someMixture(dimension);
  s.fidelityScale = static_cast<float>(fidelityScale(s, sigma));
  return s;
}

std::string nameOf(const LossSpec& s) {
  return "D=" + std::to_string(s.dimension) + " " + elementLosses[static_cast<int>(s.element)].name +
         " sigma=" + std::to_string(s.sigma);
}

struct Batch {
  std::vector<float> x, y;
};

// Planar (batch, 3, plane): targets in [0, 1], predictions around them, some outside.
Batch someBatch(int64_t batch, int64_t plane, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::normal_distribution<float> normal(0, 0.08f);
  Batch b;
  for (int64_t i = 0; i < batch * 3 * plane; ++i) {
    b.y.push_back(uniform(random));
    b.x.push_back(b.y.back() + normal(random));
  }
  return b;
}

// ---- The checks.

void checkFastmath() {
  double worstExp = 0, worstLog = 0;
  for (double x = -86.9; x < 87.9; x += 0.000731) {
    const auto f = static_cast<float>(x);
    worstExp = std::max(worstExp, std::fabs(math::fastExp(f) / std::exp(static_cast<double>(f)) - 1));
  }
  for (double x = 1e-30; x < 1e30; x *= 1.00037) {
    const auto f = static_cast<float>(x);
    const double wanted = std::log(static_cast<double>(f));
    worstLog = std::max(worstLog, std::fabs(math::fastLog(f) - wanted) / std::max(std::fabs(wanted), 1e-30));
  }
  for (double x = 0.5; x < 2; x += 1.7e-5) {  // near the zero of log
    const auto f = static_cast<float>(x);
    const double wanted = std::log(static_cast<double>(f));
    if (wanted != 0) worstLog = std::max(worstLog, std::fabs(math::fastLog(f) / wanted - 1));
  }
  near(worstExp, 0, 2e-7, "fastExp relative error");
  near(worstLog, 0, 2e-7, "fastLog relative error");
  check(math::fastExp(0.0f) == 1.0f && math::fastLog(1.0f) == 0.0f, "exp(0) = 1, log(1) = 0");
  check(math::fastExp(-1e30f) > 0 && math::fastExp(-1e30f) < 1e-37f, "exp of very negative numbers");
  check(std::isfinite(math::fastExp(1e30f)), "exp of very large numbers");
  check(std::isnan(math::fastExp(std::numeric_limits<float>::quiet_NaN())), "exp(NaN) is NaN");
}

void checkEigen() {
  const Mixture m = someMixture(3);
  for (int k = 0; k < 8; ++k) {
    const double* s = &m.covariances[k * 9];
    double values[3], vectors[3][3], worst = 0;
    math::symmetricEigen<3>(s, values, vectors);
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        double back = 0, product = 0;
        for (int d = 0; d < 3; ++d) {
          back += vectors[d][i] * values[d] * vectors[d][j];
          product += vectors[i][d] * vectors[j][d];
        }
        worst = std::max({worst, std::fabs(back - s[i * 3 + j]), std::fabs(product - (i == j))});
      }
    }
    near(worst, 0, 1e-14, "eigen decomposition of component " + std::to_string(k));
  }
}

// The formulas in double against finite differences of the reference, in the prediction and in sigma.
template <int D>
void checkFiniteDifferences(ElementLoss fidelity, float sigma) {
  const LossSpec s = bdSpec(D, fidelity, sigma);
  const Mixture& m = s.mixture;
  const bool l1 = fidelity == ElementLoss::L1;
  const auto eigen = math::bdDecompose<D>(m.weights.data(), m.means.data(), m.covariances.data(), 8);
  const double wide = s.sigma, factor = math::bdBalanceScale<double>(l1, wide * wide, s.fidelityScale);
  const auto components = math::bdComponents<D, double>(eigen, wide * wide);
  std::mt19937 random(11);
  std::uniform_real_distribution<double> uniform(-0.2, 1.2);
  double worstX = 0, worstSigma = 0, worstLse = 0;
  for (int n = 0; n < 300; ++n) {
    double x[D], y[D], at[D], gradient[D], squared = 0;
    for (int d = 0; d < D; ++d) {
      x[d] = uniform(random);
      y[d] = std::min(std::max(x[d] + 0.3 * (uniform(random) - 0.5), 0.0), 1.0);
      at[d] = l1 ? math::bdClamp(x[d]) : x[d];
      squared += (x[d] - y[d]) * (x[d] - y[d]);
    }
    const auto b = math::bdBalance<D, double>(components.data(), 8, at);
    worstLse = std::max(worstLse, std::fabs(b.lse - referenceLse(m, at, wide * wide)) / (1 + std::fabs(b.lse)));
    const double h = 1e-6;
    for (int d = 0; d < D; ++d) {
      const double e = x[d] - y[d];
      gradient[d] = (l1 ? losses::L1::gradient(e) : losses::L2::gradient(e)) +
                    factor * b.slope[d] * (l1 ? math::bdInside(x[d]) : 1);
      double plus[D], minus[D];
      std::memcpy(plus, x, sizeof x);
      std::memcpy(minus, x, sizeof x);
      plus[d] += h;
      minus[d] -= h;
      const double wanted = (referenceLoss(s, plus, y) - referenceLoss(s, minus, y)) / (2 * h);
      worstX = std::max(worstX, std::fabs(gradient[d] - wanted) / (1 + std::fabs(wanted)));
    }
    // n(sigma) = |e|^2 / (2 sigma^2) + D log sigma + LSE, times the constant factor
    const auto likelihood = [&](double value) {
      return squared / (2 * value * value) + D * std::log(value) + referenceLse(m, at, value * value);
    };
    const double hs = 1e-6 * wide;
    const double wanted = factor * (likelihood(wide + hs) - likelihood(wide - hs)) / (2 * hs);
    const double got = math::bdSigmaGradient<double>(factor, wide, D, squared, b.variance);
    worstSigma = std::max(worstSigma, std::fabs(got - wanted) / (0.01 + std::fabs(wanted)));
  }
  near(worstLse, 0, 1e-11, "LSE, " + nameOf(s));
  near(worstX, 0, 1e-6, "finite differences in the prediction, " + nameOf(s));
  near(worstSigma, 0, 1e-6, "finite differences in sigma, " + nameOf(s));
}

// The functor in double: its value against the row of elementReferences, its gradient against that row's and against
// finite differences away from 0, where a loss may have a kink.
template <typename Loss>
void checkElement(ElementLoss loss) {
  const ElementReference& row = referenceOf(loss);
  double worst = 0, worstGradient = 0, worstDifference = 0;
  for (int n = -400; n <= 400; ++n) {
    const double e = n / 320.0, h = 1e-7;
    worst = std::max(worst, std::fabs(Loss::value(e) - row.value(e)));
    worstGradient = std::max(worstGradient, std::fabs(Loss::gradient(e) - row.gradient(e)));
    if (n == 0) continue;
    const double slope = (row.value(e + h) - row.value(e - h)) / (2 * h);
    worstDifference = std::max(worstDifference, std::fabs(Loss::gradient(e) - slope));
  }
  near(worst, 0, 1e-15, std::string(Loss::name) + " value");
  near(worstGradient, 0, 1e-15, std::string(Loss::name) + " gradient");
  near(worstDifference, 0, 1e-6, std::string(Loss::name) + " finite differences");
}

// Every vector path against the reference, over a batch with a short last block.
void checkPaths(const LossSpec& s) {
  const int64_t batch = 2, plane = 3 * 1024 + 37;
  const Batch b = someBatch(batch, plane, 3);
  const int D = s.balanced ? s.dimension : 1;
  const int64_t pixels = batch * 3 * plane / D;
  const bool l1 = s.element == ElementLoss::L1;
  const ElementReference& element = referenceOf(s.element);
  std::vector<double> wanted(b.x.size());
  LossSums w;
  double varianceSlope = 0, squared = 0, largest = 0;
  const double v = static_cast<double>(s.sigma) * s.sigma;
  const double factor = s.balanced ? 2 * v / (l1 ? s.fidelityScale : 1.0) : 0;
  for (int64_t p = 0; p < pixels; ++p) {
    int64_t at[3];
    for (int d = 0; d < D; ++d) at[d] = D == 1 ? p : (p / plane * 3 + d) * plane + p % plane;
    double x[3], clamped[3], step[3];
    for (int d = 0; d < D; ++d) {
      x[d] = b.x[at[d]];
      clamped[d] = l1 ? std::min(std::max(x[d], 0.0), 1.0) : x[d];
      // bdloss.h subtracts in float
      const double e = static_cast<double>(b.x[at[d]] - b.y[at[d]]);
      const double data = element.gradient(e);
      w.data += element.value(e);
      squared += e * e;
      w.dataGradient += std::fabs(data);
      wanted[at[d]] = data;
    }
    if (!s.balanced) continue;
    w.balance += factor * referenceLse(s.mixture, clamped, v);
    varianceSlope +=
        (referenceLse(s.mixture, clamped, v * 1.0001) - referenceLse(s.mixture, clamped, v * 0.9999)) / (2e-4 * v);
    for (int d = 0; d < D; ++d) {
      std::memcpy(step, clamped, sizeof step);
      step[d] = clamped[d] + 1e-6;
      const double up = referenceLse(s.mixture, step, v);
      step[d] = clamped[d] - 1e-6;
      const double slope = factor * (up - referenceLse(s.mixture, step, v)) / 2e-6;
      const double inside = l1 && (x[d] < 0 || x[d] > 1) ? 0 : slope;
      w.balanceGradient += std::fabs(inside);
      wanted[at[d]] += inside;
    }
  }
  const double n = static_cast<double>(pixels), scale = 7;
  for (double value : wanted) largest = std::max(largest, std::fabs(value));
  w.data /= n;
  w.balance /= n;
  w.dataGradient /= n * D;
  w.balanceGradient /= n * D;
  if (s.balanced)
    w.sigmaGradient = factor * 2 * s.sigma * (D / (2 * v) - squared / n / (2 * v * v) + varianceSlope / n);

  for (const cpu::LossKernels& path : cpu::lossKernels()) {
    const std::string name = std::string(path.name) + (s.balanced ? " balanced " : " ") + nameOf(s);
    std::vector<float> gradient(b.x.size());
    const LossSums got =
        cpu::evaluateLossWith(path.kernel, s, b.x.data(), b.y.data(), batch, plane, gradient.data(), scale);
    const auto relative = [&](double value, double reference, const char* what) {
      near(value, reference, 1e-5 * std::fabs(reference) + 1e-12, name + " " + what);
    };
    relative(got.data, w.data, "data");
    relative(got.balance, w.balance, "balance");
    near(got.loss, w.data + w.balance, 1e-5 * (w.data + std::fabs(w.balance)), name + " loss");
    relative(got.dataGradient, w.dataGradient, "dataGradient");
    relative(got.balanceGradient, w.balanceGradient, "balanceGradient");
    relative(got.sigmaGradient, w.sigmaGradient, "sigmaGradient");
    double worst = 0;
    for (size_t i = 0; i < wanted.size(); ++i)
      worst = std::max(worst, std::fabs(gradient[i] * n / scale - wanted[i]) / largest);
    near(worst, 0, 1e-5, name + " gradient");
    const LossSums without =
        cpu::evaluateLossWith(path.kernel, s, b.x.data(), b.y.data(), batch, plane, nullptr, scale);
    check(without.loss == got.loss, name + " same sums without a gradient");
  }
}

void checkThreads(const LossSpec& s) {
  const int64_t batch = 3, plane = 20011;
  const Batch b = someBatch(batch, plane, 9);
  std::vector<float> first(b.x.size()), second(b.x.size());
  const int before = omp_get_max_threads();
  omp_set_num_threads(1);
  const LossSums one = cpu::evaluateLoss(s, b.x.data(), b.y.data(), batch, plane, first.data(), 1);
  for (int threads : {1, 2, 3}) {
    omp_set_num_threads(threads);
    const LossSums other = cpu::evaluateLoss(s, b.x.data(), b.y.data(), batch, plane, second.data(), 1);
    check(std::memcmp(&one, &other, sizeof one) == 0 && first == second,
          "same bits with " + std::to_string(threads) + " threads, " + nameOf(s));
  }
  omp_set_num_threads(before);
}

void checkInterleaved() {
  const LossSpec s = bdSpec(3, ElementLoss::L1, 0.03f);
  const int64_t plane = 777;
  const Batch b = someBatch(1, plane, 21);
  Batch mixed = b;
  for (int64_t p = 0; p < plane; ++p) {
    for (int d = 0; d < 3; ++d) {
      mixed.x[p * 3 + d] = b.x[d * plane + p];
      mixed.y[p * 3 + d] = b.y[d * plane + p];
    }
  }
  std::vector<float> planar(b.x.size()), interleaved(b.x.size());
  const LossSums one = cpu::evaluateLoss(s, b.x.data(), b.y.data(), 1, plane, planar.data(), 1);
  const LossSums two = cpu::evaluateLossInterleaved(s, mixed.x.data(), mixed.y.data(), plane, interleaved.data(), 1);
  bool same = one.loss == two.loss;
  for (int64_t p = 0; p < plane; ++p)
    for (int d = 0; d < 3; ++d) same = same && interleaved[p * 3 + d] == planar[d * plane + p];
  check(same, "interleaved equals planar");
}

// One Gaussian: the l2 form has its stationary point at y (s^2 + sigma^2) / s^2 - mu sigma^2 / s^2.
void checkOneGaussian() {
  LossSpec s;
  s.balanced = true;
  s.element = ElementLoss::L2;
  s.dimension = 1;
  s.mixture.weights = {1};
  s.mixture.means = {0.4};
  for (double std : {0.05, 0.2}) {
    for (double y : {0.1, 0.4, 0.9}) {
      s.sigma = 0.03f;
      s.mixture.covariances = {std * std};
      const double v = static_cast<double>(s.sigma) * s.sigma,
                   at = y * (std * std + v) / (std * std) - 0.4 * v / (std * std);
      const std::vector<float> x(3, static_cast<float>(at)), target(3, static_cast<float>(y));
      std::vector<float> gradient(3);
      cpu::evaluateLoss(s, x.data(), target.data(), 1, 1, gradient.data(), 3);
      near(gradient[0], 0, 1e-6, "stationary point of one Gaussian");
      const std::vector<float> off(3, static_cast<float>(at + 0.01));
      cpu::evaluateLoss(s, off.data(), target.data(), 1, 1, gradient.data(), 3);
      near(gradient[0], 0.02 * std * std / (std * std + v), 1e-5, "slope beside the stationary point");
    }
  }
}

void checkSmallSigma() {
  LossSpec plain;
  plain.element = ElementLoss::L2;
  const Batch b = someBatch(1, 500, 2);
  std::vector<float> wanted(b.x.size()), got(b.x.size());
  const LossSums w = cpu::evaluateLoss(plain, b.x.data(), b.y.data(), 1, 500, wanted.data(), 1);
  for (int dimension : {1, 3}) {
    const LossSpec s = bdSpec(dimension, ElementLoss::L2, 1e-6f);
    const LossSums sums = cpu::evaluateLoss(s, b.x.data(), b.y.data(), 1, 500, got.data(), 1);
    near(sums.loss, w.loss * dimension, 1e-7, "sigma -> 0 is plain L2");
    double worst = 0;
    for (size_t i = 0; i < got.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(got[i]) / dimension - wanted[i]));
    near(worst * 1500, 0, 1e-7, "sigma -> 0 has the gradient of plain L2");
  }
}

void checkOverflow() {
  for (int dimension : {1, 3}) {
    for (ElementLoss fidelity : {ElementLoss::L1, ElementLoss::L2}) {
      for (double shrink : {1.0, 1e-8, 0.0}) {
        LossSpec s = bdSpec(dimension, fidelity, shrink == 1.0 ? 0.02f : 1e-5f);
        for (double& c : s.mixture.covariances) c *= shrink;
        s.fidelityScale = 0.02f;
        std::vector<float> x, y;
        for (float value : {1e4f, -1e4f, 0.0f, 1.0f, 1e4f, -1e4f, 0.5f, 3.0f, -1e4f}) {
          x.push_back(value);
          y.push_back(0.5f);
        }
        for (const cpu::LossKernels& path : cpu::lossKernels()) {
          std::vector<float> gradient(9);
          const LossSums sums = cpu::evaluateLossWith(path.kernel, s, x.data(), y.data(), 1, 3, gradient.data(), 1);
          bool finite =
              std::isfinite(sums.loss) && std::isfinite(sums.sigmaGradient) && std::isfinite(sums.balanceGradient);
          for (float g : gradient) finite = finite && std::isfinite(g);
          check(finite, std::string("nothing overflows, ") + path.name + " " + nameOf(s));
        }
      }
    }
  }
  // ... but a prediction that is not finite must show.
  const LossSpec s = bdSpec(1, ElementLoss::L1, 0.02f);
  const std::vector<float> x{0.1f, std::numeric_limits<float>::quiet_NaN(), 0.3f}, y(3, 0.5f);
  check(!std::isfinite(cpu::evaluateLoss(s, x.data(), y.data(), 1, 1, nullptr, 1).loss), "NaN reaches the loss");
}

// Second derivative of the l2 form along random directions.
void checkConvexity() {
  std::mt19937 random(8);
  std::uniform_real_distribution<double> uniform(-0.3, 1.3);
  for (int dimension : {1, 3}) {
    for (float sigma : {0.01f, 0.05f, 0.2f}) {
      LossSpec s = bdSpec(dimension, ElementLoss::L2, sigma);
      double least = 1e9;
      for (size_t k = 0; k < s.mixture.weights.size(); ++k) {
        double values[3], vectors[3][3], one[1][1];
        if (dimension == 3)
          math::symmetricEigen<3>(&s.mixture.covariances[k * 9], values, vectors);
        else
          math::symmetricEigen<1>(&s.mixture.covariances[k], values, one);
        for (int d = 0; d < dimension; ++d) least = std::min(least, values[d]);
      }
      const double v = static_cast<double>(sigma) * sigma, bound = 2 * least / (least + v), h = 1e-4;
      double smallest = 1e9;
      for (int n = 0; n < 2000; ++n) {
        double x[3], u[3], y[3] = {0.5, 0.5, 0.5}, length = 0, plus[3], minus[3];
        for (int d = 0; d < dimension; ++d) {
          x[d] = uniform(random);
          u[d] = uniform(random) - 0.5;
          length += u[d] * u[d];
        }
        for (int d = 0; d < dimension; ++d) {
          plus[d] = x[d] + h * u[d] / std::sqrt(length);
          minus[d] = x[d] - h * u[d] / std::sqrt(length);
        }
        smallest = std::min(
            smallest, (referenceLoss(s, plus, y) - 2 * referenceLoss(s, x, y) + referenceLoss(s, minus, y)) / (h * h));
      }
      check(smallest >= bound - 1e-5,
            "convexity bound, " + nameOf(s) + ": " + std::to_string(smallest) + " >= " + std::to_string(bound));
    }
  }
}

// The l1 form from random starts: predictions end at their targets and never run away.
void checkDescent() {
  for (int dimension : {1, 3}) {
    for (float sigma : {0.01f, 0.04f, 0.15f}) {
      const LossSpec s = bdSpec(dimension, ElementLoss::L1, sigma);
      const int64_t plane = 40;
      std::mt19937 random(4);
      std::uniform_real_distribution<float> start(-3, 4), target(0, 1);
      std::vector<float> x(3 * plane), y(3 * plane), gradient(3 * plane);
      for (float& value : x) value = start(random);
      for (float& value : y) value = target(random);
      const double pixels = static_cast<double>(3 * plane / dimension);
      for (int step = 0; step < 2000; ++step) {
        cpu::evaluateLoss(s, x.data(), y.data(), 1, plane, gradient.data(), static_cast<float>(pixels));
        const float rate = 0.03f * (1 - static_cast<float>(step) / 2000);
        for (size_t i = 0; i < x.size(); ++i) x[i] -= rate * gradient[i];
      }
      double worst = 0;
      for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(x[i]) - y[i]));
      near(worst, 0, 2e-3, "descent of the l1 form ends at the targets, " + nameOf(s));
    }
  }
}

// The search for the largest slope against brute force; and it dominates after scaling.
void checkFidelityScale() {
  for (int dimension : {1, 3}) {
    LossSpec s = bdSpec(dimension, ElementLoss::L1, 0.2f);
    const double v = static_cast<double>(s.sigma) * s.sigma;
    std::mt19937 random(6);
    std::uniform_real_distribution<double> uniform(0, 1);
    double largest = 0;
    for (int n = 0; n < 20000; ++n) {
      double x[3], step[3];
      for (int d = 0; d < 3; ++d) x[d] = uniform(random) < 0.3 ? (uniform(random) < 0.5 ? 0 : 1) : uniform(random);
      for (int d = 0; d < dimension; ++d) {
        std::memcpy(step, x, sizeof x);
        step[d] += 1e-6;
        const double up = referenceLse(s.mixture, step, v);
        step[d] -= 2e-6;
        largest = std::max(largest, std::fabs(2 * v * (up - referenceLse(s.mixture, step, v)) / 2e-6));
      }
    }
    const double c = fidelityScale(s, 1e-6);
    check(c >= 1.1 * largest * (1 - 1e-4),
          "fidelityScale covers every slope found by chance, D=" + std::to_string(dimension));
    near(c, 1.1 * largest, 0.05 * c,
         "fidelityScale is not much above the largest slope, D=" + std::to_string(dimension));
    near(fidelityScale(s, 1000), 1000, 0, "fidelityScale is at least the typical residual");
  }
}

void checkInvalid() {
  const std::vector<float> x(3, 0.5f);
  const auto fails = [&](const std::function<void(LossSpec&)>& change, const char* what) {
    LossSpec s = bdSpec(1, ElementLoss::L1, 0.02f);
    change(s);
    bool thrown = false;
    try {
      cpu::evaluateLoss(s, x.data(), x.data(), 1, 1, nullptr, 1);
    } catch (const Error& error) {
      thrown = error.code == "WBSR_INVALID_OPTION";
    }
    check(thrown, std::string("an error for ") + what);
  };
  fails([](LossSpec& s) { s.sigma = 0; }, "sigma 0");
  fails([](LossSpec& s) { s.fidelityScale = 0; }, "fidelityScale 0");
  fails([](LossSpec& s) { s.dimension = 3; }, "a mixture of another dimension");
  fails([](LossSpec& s) { s.mixture.means.pop_back(); }, "a missing mean");
  fails([](LossSpec& s) { s.mixture.weights.assign(8, 0); }, "weights that are all 0");
  fails([](LossSpec& s) { s.mixture.covariances[0] = NAN; }, "a covariance that is NaN");
}

// Adam by hand in double over ten steps.
void checkAdam() {
  float w = 0.7f, m = 0, v = 0, ema = w;
  double W = w, M = 0, V = 0, E = W;
  for (int t = 1; t <= 10; ++t) {
    const double g = std::sin(t * 1.3) + 0.2;
    const math::AdamStep s = math::makeAdamStep(2e-3, 0.9, 0.999, 1e-8, 0.05, 0.99, t);
    math::adamStep(w, static_cast<float>(g), m, v, s);
    math::emaStep(ema, w, s);
    M = 0.9 * M + 0.1 * g;
    V = 0.999 * V + 0.001 * g * g;
    W = W - 2e-3 * 0.05 * W - 2e-3 * (M / (1 - std::pow(0.9, t))) / (std::sqrt(V / (1 - std::pow(0.999, t))) + 1e-8);
    E = 0.99 * E + 0.01 * W;
    near(w, W, 3e-7, "Adam's weight");
    near(ema, E, 3e-7, "Adam's moving average");
  }
  near(m, M, 1e-6, "Adam's first moment");
  near(v, V, 1e-7, "Adam's second moment");
  const math::AdamStep first = math::makeAdamStep(1e-3, 0.9, 0.999, 1e-8, 0, 0, 1);
  float a = 1, am = 0, av = 0, aema = 5;
  math::adamStep(a, -123.0f, am, av, first);
  math::emaStep(aema, a, first);
  near(a, 1.001, 1e-6, "Adam's first step has the size of the learning rate");
  check(aema == a, "without a decay the moving average is the weight");
}

void speed() {
  const int64_t batch = 16, plane = 128 * 128;
  const Batch b = someBatch(batch, plane, 3);
  std::vector<float> gradient(b.x.size());
  for (int dimension : {1, 3}) {
    const LossSpec s = bdSpec(dimension, ElementLoss::L1, 0.02f);
    for (const cpu::LossKernels& path : cpu::lossKernels()) {
      double best = 1e9;
      for (int n = 0; n < 15; ++n) {
        const auto start = std::chrono::steady_clock::now();
        cpu::evaluateLossWith(path.kernel, s, b.x.data(), b.y.data(), batch, plane, gradient.data(), 1);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      }
      std::printf("D=%d %-6s %6.2f ms for 16 x 3 x 128 x 128 values, 8 components, %d threads\n", dimension, path.name,
                  best * 1e3, omp_get_max_threads());
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1 && std::string(arguments[1]) == "speed") {
    speed();
    return 0;
  }
  checkFastmath();
  checkEigen();
  for (float sigma : {0.01f, 0.05f, 0.3f}) {
    for (ElementLoss fidelity : {ElementLoss::L1, ElementLoss::L2}) {
      checkFiniteDifferences<1>(fidelity, sigma);
      checkFiniteDifferences<3>(fidelity, sigma);
      checkPaths(bdSpec(1, fidelity, sigma));
      checkPaths(bdSpec(3, fidelity, sigma));
    }
  }
#define WBSR_ROW(functor) checkElement<losses::functor>(ElementLoss::functor);
  WBSR_ELEMENT_LOSSES(WBSR_ROW)
#undef WBSR_ROW
  LossSpec plain;
  for (const ElementLossInfo& row : elementLosses) {
    plain.element = row.loss;
    checkPaths(plain);
    checkThreads(plain);
  }
  checkThreads(bdSpec(1, ElementLoss::L1, 0.02f));
  checkThreads(bdSpec(3, ElementLoss::L2, 0.02f));
  checkInterleaved();
  checkOneGaussian();
  checkSmallSigma();
  checkOverflow();
  checkConvexity();
  checkDescent();
  checkFidelityScale();
  checkInvalid();
  checkAdam();
  std::printf("%d checks, %d failed, kernels:", test::checks.load(), test::failures.load());
  for (const cpu::LossKernels& path : cpu::lossKernels()) std::printf(" %s", path.name);
  std::printf("\n");
  return test::failures > 0;
}

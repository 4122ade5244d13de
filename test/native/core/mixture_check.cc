// Checks of the mixture fit (EM). Prints what failed; exit code 1 then.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/math/eigen3.h"
#include "core/mixture.h"
#include "support/check.h"

using namespace wbsr;
using test::check;

namespace {

void near(double got, double wanted, double tolerance, const std::string& what) {
  check(std::fabs(got - wanted) <= tolerance,
        what + ": got " + std::to_string(got) + ", wanted " + std::to_string(wanted));
}

MixtureOptions optionsOf(int dimension, int components, uint64_t seed = 1) {
  MixtureOptions o;
  o.dimension = dimension;
  o.components = components;
  o.seed = seed;
  return o;
}

// Finite everywhere, weights sum to 1, every standard deviation at least minStd.
void expectSound(const Mixture& m, double minStd, const std::string& what) {
  double sum = 0;
  bool finite = true;
  for (double w : m.weights) {
    sum += w;
    finite = finite && w >= 0;
  }
  for (double value : m.means) finite = finite && std::isfinite(value);
  for (double value : m.covariances) finite = finite && std::isfinite(value);
  check(finite, what + ": all numbers finite");
  near(sum, 1, 1e-12, what + ": weights sum to 1");
  const int D = m.dimension;
  for (size_t k = 0; k < m.weights.size(); ++k) {
    double values[3], vectors[3][3], one[1][1];
    if (D == 3)
      math::symmetricEigen<3>(&m.covariances[k * 9], values, vectors);
    else
      math::symmetricEigen<1>(&m.covariances[k], values, one);
    for (int d = 0; d < D; ++d)
      check(values[d] >= minStd * minStd * (1 - 1e-9), what + ": floor of component " + std::to_string(k));
  }
}

bool same(const MixtureFit& a, const MixtureFit& b) {
  return a.mixture.weights == b.mixture.weights && a.mixture.means == b.mixture.means &&
         a.mixture.covariances == b.mixture.covariances && a.logLikelihood == b.logLikelihood;
}

void checkKnown1() {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 1);
  const double weights[3] = {0.2, 0.5, 0.3}, means[3] = {0.15, 0.5, 0.85}, stds[3] = {0.03, 0.06, 0.02};
  std::vector<float> samples, values, counts(256, 0.0f);
  for (int n = 0; n < 40000; ++n) {
    const int k = n % 10 < 2 ? 0 : n % 10 < 7 ? 1 : 2;
    samples.push_back(static_cast<float>(means[k] + stds[k] * normal(random)));
    const long value = std::lround(samples.back() * 255);
    if (value >= 0 && value < 256) counts[static_cast<size_t>(value)] += 1;
  }
  for (int value = 0; value < 256; ++value) values.push_back(static_cast<float>(value / 255.0));
  for (bool histogram : {false, true}) {
    const auto fit = histogram ? fitMixture(values.data(), counts.data(), 256, optionsOf(1, 3))
                               : fitMixture(samples.data(), nullptr, 40000, optionsOf(1, 3));
    const std::string what = histogram ? "known mixture from a histogram" : "known mixture";
    expectSound(fit.mixture, 4 / 255.0, what);
    for (int k = 0; k < 3; ++k) {
      near(fit.mixture.weights[k], weights[k], 0.01, what + " weight");
      near(fit.mixture.means[k], means[k], 0.003, what + " mean");
      near(std::sqrt(fit.mixture.covariances[k]), stds[k], 0.002, what + " deviation");
    }
    // The best mixture's own mean log-likelihood, by hand.
    double wanted = 0;
    for (float x : samples) {
      double density = 0;
      for (int k = 0; k < 3; ++k)
        density += weights[k] / (stds[k] * std::sqrt(2 * std::acos(-1.0))) *
                   std::exp(-0.5 * std::pow((x - means[k]) / stds[k], 2));
      wanted += std::log(density) / 40000;
    }
    near(fit.logLikelihood, wanted, 0.01, what + " log-likelihood");
  }
}

void checkKnown3() {
  std::mt19937 random(4);
  std::normal_distribution<double> normal(0, 1);
  // Two components, the second with correlated channels: covariance A A^T.
  const double a[2][3][3] = {{{0.05, 0, 0}, {0, 0.03, 0}, {0, 0, 0.04}},
                             {{0.08, 0, 0}, {0.06, 0.03, 0}, {0.07, 0.01, 0.03}}};
  const double means[2][3] = {{0.2, 0.3, 0.25}, {0.7, 0.6, 0.65}};
  std::vector<float> samples;
  for (int n = 0; n < 20000; ++n) {
    const int k = n % 4 != 0;
    const double z[3] = {normal(random), normal(random), normal(random)};
    for (int i = 0; i < 3; ++i) {
      double x = means[k][i];
      for (int j = 0; j < 3; ++j) x += a[k][i][j] * z[j];
      samples.push_back(static_cast<float>(x));
    }
  }
  const MixtureFit fit = fitMixture(samples.data(), nullptr, 20000, optionsOf(3, 2));
  expectSound(fit.mixture, 4 / 255.0, "known RGB mixture");
  near(fit.mixture.weights[1], 0.75, 0.01, "known RGB mixture weight");
  for (int k = 0; k < 2; ++k) {
    for (int i = 0; i < 3; ++i) {
      near(fit.mixture.means[k * 3 + i], means[k][i], 0.004, "known RGB mixture mean");
      for (int j = 0; j < 3; ++j) {
        double covariance = 0;
        for (int l = 0; l < 3; ++l) covariance += a[k][i][l] * a[k][j][l];
        near(fit.mixture.covariances[(k * 3 + i) * 3 + j], covariance, 3e-4, "known RGB mixture covariance");
      }
    }
  }
}

void checkSeedAndGain() {
  std::mt19937 random(12);
  std::uniform_real_distribution<float> uniform(0, 1);
  for (int dimension : {1, 3}) {
    std::vector<float> samples(3000);
    for (float& x : samples) x = uniform(random) * uniform(random);
    const int64_t count = 3000 / dimension;
    const auto fit = [&](uint64_t seed, int iterations) {
      MixtureOptions o = optionsOf(dimension, 8, seed);
      o.iterations = iterations;
      return fitMixture(samples.data(), nullptr, count, o);
    };
    check(same(fit(1, 50), fit(1, 50)), "one seed, one result");
    check(!same(fit(1, 50), fit(2, 50)), "another seed, another start");
    double last = -1e300;
    for (int iterations : {0, 1, 2, 3, 5, 8, 13, 30, 80}) {
      const MixtureFit now = fit(1, iterations);
      check(now.logLikelihood >= last - 1e-9, "EM never loses, floor included");
      expectSound(now.mixture, 4 / 255.0, "unfinished fit");
      last = now.logLikelihood;
    }
    for (size_t k = 1; k < 8; ++k) {
      const std::vector<double> m = fit(1, 80).mixture.means;
      double before = 0, after = 0;
      for (int d = 0; d < dimension; ++d) {
        before += m[(k - 1) * dimension + d];
        after += m[k * dimension + d];
      }
      check(after >= before, "components are ordered");
    }
  }
}

void checkFewValues() {
  for (int dimension : {1, 3}) {
    const auto D = static_cast<size_t>(dimension);
    const std::string name = ", D=" + std::to_string(dimension);
    const std::vector<float> constant(300, 0.25f);
    const MixtureFit one = fitMixture(constant.data(), nullptr, 300 / dimension, optionsOf(dimension, 8));
    expectSound(one.mixture, 4 / 255.0, "constant data" + name);
    near(one.mixture.weights[0], 1, 1e-12, "constant data: one component" + name);
    near(one.mixture.means[0], 0.25, 1e-6, "constant data: its mean" + name);
    near(std::sqrt(one.mixture.covariances[0]), 4 / 255.0, 1e-9, "constant data: its deviation is the floor" + name);

    std::vector<float> three;
    for (int n = 0; n < 400; ++n)
      for (size_t d = 0; d < D; ++d) three.push_back(n % 4 == 0 ? 0.0f : n % 4 == 1 ? 0.5f : 1.0f);
    const MixtureFit few = fitMixture(three.data(), nullptr, 400, optionsOf(dimension, 8));
    expectSound(few.mixture, 4 / 255.0, "three values" + name);
    near(few.mixture.weights[0], 0.25, 1e-6, "three values: first weight" + name);
    near(few.mixture.weights[1], 0.25, 1e-6, "three values: second weight" + name);
    near(few.mixture.weights[2], 0.5, 1e-6, "three values: third weight" + name);
    near(few.mixture.means[D], 0.5, 1e-6, "three values: second mean" + name);
    for (size_t k = 3; k < 8; ++k) check(few.mixture.weights[k] == 0, "three values: the rest is unused" + name);

    const MixtureFit lone = fitMixture(constant.data(), nullptr, 1, optionsOf(dimension, 4));
    expectSound(lone.mixture, 4 / 255.0, "a single sample" + name);
  }
  // Weights of 0 leave a sample out altogether.
  const std::vector<float> values{0.1f, 0.9f, 0.3f}, weights{0.0f, 2.0f, 0.0f};
  const MixtureFit fit = fitMixture(values.data(), weights.data(), 3, optionsOf(1, 3));
  near(fit.mixture.means[0], 0.9, 1e-6, "a sample of weight 0 does not count");
  near(fit.mixture.weights[0], 1, 1e-12, "a sample of weight 0 owns no component");
}

void checkInvalid() {
  const std::vector<float> values{0.1f, 0.2f, 0.3f};
  const auto fails = [&](const std::function<void(MixtureOptions&, std::vector<float>&, std::vector<float>&)>& change,
                         const char* what) {
    MixtureOptions options;
    std::vector<float> samples = values, weights{1, 1, 1};
    change(options, samples, weights);
    bool thrown = false;
    try {
      fitMixture(samples.data(), weights.data(), static_cast<int64_t>(weights.size()), options);
    } catch (const Error& error) {
      thrown = error.code == "WBSR_INVALID_OPTION";
    }
    check(thrown, std::string("an error for ") + what);
  };
  fails([](auto& o, auto&, auto&) { o.dimension = 2; }, "dimension 2");
  fails([](auto& o, auto&, auto&) { o.components = 0; }, "no components");
  fails([](auto& o, auto&, auto&) { o.components = 33; }, "too many components");
  fails([](auto& o, auto&, auto&) { o.minStd = 0; }, "no floor");
  fails([](auto&, auto& s, auto&) { s[1] = NAN; }, "a sample that is NaN");
  fails([](auto&, auto&, auto& w) { w[1] = -1; }, "a negative weight");
  fails([](auto&, auto&, auto& w) { w.assign(3, 0); }, "weights that are all 0");
  fails([](auto&, auto&, auto& w) { w.clear(); }, "no samples");
}

}  // namespace

int main() {
  checkKnown1();
  checkKnown3();
  checkSeedAndGain();
  checkFewValues();
  checkInvalid();
  return test::finish();
}

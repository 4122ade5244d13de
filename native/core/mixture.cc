#include "core/mixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/math/bdprepare.h"
#include "core/random.h"

namespace wbsr {
namespace {

template <int D>
struct Fitter {
  const float* samples;
  const float* weights;
  int64_t count;
  const MixtureOptions& options;
  double total = 0;
  Mixture mixture;

  double weight(int64_t n) const { return weights ? weights[n] : 1.0; }

  double distance(int64_t n, const double* mean) const {
    double sum = 0;
    for (int d = 0; d < D; ++d) {
      const double e = samples[n * D + d] - mean[d];
      sum += e * e;
    }
    return sum;
  }

  // Index of a sample drawn with probability proportional to `mass`; -1 where all mass is 0.
  int64_t draw(const std::vector<double>& mass, SplitMix64& random) const {
    const double sum = std::accumulate(mass.begin(), mass.end(), 0.0);
    if (!(sum > 0)) return -1;
    double left = random.uniform() * sum;
    int64_t last = -1;
    for (int64_t n = 0; n < count; ++n) {
      if (!(mass[n] > 0)) continue;
      last = n;
      left -= mass[n];
      if (left < 0) break;
    }
    return last;
  }

  // k-means++ centres, then a few rounds of k-means: which centre each sample belongs to.
  std::vector<int> cluster(int& used) {
    SplitMix64 random{options.seed};
    std::vector<double> nearest(count), mass(count);
    std::vector<int> owner(count, 0);
    std::vector<double> centres;
    for (int64_t n = 0; n < count; ++n) mass[n] = weight(n);
    used = 0;
    while (used < options.components) {
      const int64_t chosen = draw(mass, random);
      if (chosen < 0) break;  // every distinct sample is a centre already
      for (int d = 0; d < D; ++d) centres.push_back(samples[chosen * D + d]);
      const double* centre = &centres[static_cast<size_t>(used) * D];
      for (int64_t n = 0; n < count; ++n) {
        const double far = distance(n, centre);
        if (used == 0 || far < nearest[n]) {
          nearest[n] = far;
          owner[n] = used;
        }
        mass[n] = weight(n) * nearest[n];
      }
      ++used;
    }
    for (int round = 0; round < 10; ++round) {
      std::vector<double> sums(centres.size(), 0.0), sizes(used, 0.0);
      for (int64_t n = 0; n < count; ++n) {
        sizes[owner[n]] += weight(n);
        for (int d = 0; d < D; ++d) sums[owner[n] * D + d] += weight(n) * samples[n * D + d];
      }
      for (int k = 0; k < used; ++k)
        if (sizes[k] > 0)
          for (int d = 0; d < D; ++d) centres[k * D + d] = sums[k * D + d] / sizes[k];
      bool moved = false;
      for (int64_t n = 0; n < count; ++n) {
        int best = owner[n];
        double least = distance(n, &centres[best * D]);
        for (int k = 0; k < used; ++k) {
          const double far = distance(n, &centres[k * D]);
          if (far < least) {
            least = far;
            best = k;
          }
        }
        moved = moved || best != owner[n];
        owner[n] = best;
      }
      if (!moved) break;
    }
    return owner;
  }

  // Sets component k from weighted sums: size, sum of x - reference, sum of its outer products. Raising eigenvalues to
  // the floor is the exact maximum-likelihood answer among covariances with that floor, so EM still never loses.
  void setComponent(int k, double size, const double* sum, const double* outer, const double* reference) {
    // A component of negligible weight is set to weight 0 and keeps its index.
    if (!(size > 1e-9 * total)) {
      mixture.weights[k] = 0;
      return;
    }
    mixture.weights[k] = size / total;
    double shift[D], covariance[D * D], values[D], vectors[D][D];
    for (int d = 0; d < D; ++d) {
      shift[d] = sum[d] / size;
      mixture.means[k * D + d] = reference[d] + shift[d];
    }
    for (int i = 0; i < D; ++i)
      for (int j = 0; j < D; ++j) covariance[i * D + j] = outer[i * D + j] / size - shift[i] * shift[j];
    math::symmetricEigen<D>(covariance, values, vectors);
    for (int d = 0; d < D; ++d) values[d] = std::max(values[d], options.minStd * options.minStd);
    for (int i = 0; i < D; ++i) {
      for (int j = 0; j < D; ++j) {
        double value = 0;
        for (int d = 0; d < D; ++d) value += vectors[d][i] * values[d] * vectors[d][j];
        mixture.covariances[(k * D + i) * D + j] = value;
      }
    }
  }

  // One step of EM; returns the mean log-likelihood before it.
  double step() {
    const int components = options.components;
    // bdDecompose leaves out the components of weight 0.
    std::vector<int> alive;
    for (int k = 0; k < components; ++k)
      if (mixture.weights[k] > 0) alive.push_back(k);
    const auto terms = math::bdComponents<D, double>(
        math::bdDecompose<D>(mixture.weights.data(), mixture.means.data(), mixture.covariances.data(), components), 0);
    const int live = static_cast<int>(alive.size());
    std::vector<double> sizes(live, 0.0), sums(live * D, 0.0), outers(live * D * D, 0.0), logits(live);
    double logLikelihood = 0;
    for (int64_t n = 0; n < count; ++n) {
      const double w = weight(n);
      if (!(w > 0)) continue;
      double x[D], largest = -1e300, sum = 0;
      for (int d = 0; d < D; ++d) x[d] = samples[n * D + d];
      for (int k = 0; k < live; ++k) {
        logits[k] = math::bdLogit<D, double>(terms[k], x);
        largest = std::max(largest, logits[k]);
      }
      for (int k = 0; k < live; ++k) sum += logits[k] = std::exp(logits[k] - largest);
      logLikelihood += w * (largest + std::log(sum));
      for (int k = 0; k < live; ++k) {
        const double share = w * logits[k] / sum;
        if (share < 1e-14 * w) continue;
        double e[D];
        for (int d = 0; d < D; ++d) e[d] = x[d] - terms[k].mean[d];
        sizes[k] += share;
        for (int i = 0; i < D; ++i) {
          sums[k * D + i] += share * e[i];
          for (int j = 0; j < D; ++j) outers[(k * D + i) * D + j] += share * e[i] * e[j];
        }
      }
    }
    for (int k = 0; k < live; ++k) setComponent(alive[k], sizes[k], &sums[k * D], &outers[k * D * D], terms[k].mean);
    normalise();
    return logLikelihood / total;
  }

  void normalise() {
    const double sum = std::accumulate(mixture.weights.begin(), mixture.weights.end(), 0.0);
    for (double& w : mixture.weights) w /= sum;
  }

  void order() {
    std::vector<int> rank(options.components);
    std::iota(rank.begin(), rank.end(), 0);
    const auto key = [&](int k) { return std::accumulate(&mixture.means[k * D], &mixture.means[k * D] + D, 0.0); };
    std::stable_sort(rank.begin(), rank.end(), [&](int a, int b) {
      const bool deadA = !(mixture.weights[a] > 0), deadB = !(mixture.weights[b] > 0);
      return deadA != deadB ? deadB : key(a) < key(b);
    });
    const Mixture old = mixture;
    for (int k = 0; k < options.components; ++k) {
      mixture.weights[k] = old.weights[rank[k]];
      std::copy_n(&old.means[rank[k] * D], D, &mixture.means[k * D]);
      std::copy_n(&old.covariances[rank[k] * D * D], D * D, &mixture.covariances[k * D * D]);
    }
  }

  MixtureFit run() {
    const int components = options.components;
    for (int64_t n = 0; n < count; ++n) total += weight(n);
    mixture.dimension = D;
    mixture.weights.assign(components, 0.0);
    mixture.means.assign(components * D, 0.0);
    mixture.covariances.assign(components * D * D, 0.0);
    int used = 0;
    const std::vector<int> owner = cluster(used);
    std::vector<double> sizes(components, 0.0), sums(components * D, 0.0), outers(components * D * D, 0.0);
    for (int64_t n = 0; n < count; ++n) {
      const int k = owner[n];
      const double w = weight(n);
      sizes[k] += w;
      for (int i = 0; i < D; ++i) {
        sums[k * D + i] += w * samples[n * D + i];
        for (int j = 0; j < D; ++j) outers[(k * D + i) * D + j] += w * samples[n * D + i] * samples[n * D + j];
      }
    }
    const double origin[D] = {};
    for (int k = 0; k < components; ++k) {
      // Never-used components still get a proper (floored) covariance, so that every stored one is invertible.
      for (int d = 0; d < D; ++d) mixture.covariances[(k * D + d) * D + d] = options.minStd * options.minStd;
      setComponent(k, sizes[k], &sums[k * D], &outers[k * D * D], origin);
    }
    normalise();

    MixtureFit fit;
    double last = -1e300;
    for (fit.iterations = 0; fit.iterations < options.iterations; ++fit.iterations) {
      const double now = step();
      if (now - last < 1e-8) break;
      last = now;
    }
    const Mixture kept = mixture;
    fit.logLikelihood = step();  // for its return value, which belongs to the final mixture
    mixture = kept;
    order();
    fit.mixture = mixture;
    return fit;
  }
};

}  // namespace

MixtureFit fitMixture(const float* samples, const float* weights, int64_t count, const MixtureOptions& options) {
  if (options.dimension != 1 && options.dimension != 3)
    throw invalidOption("dimension", "1 or 3", std::to_string(options.dimension));
  if (options.components < 1 || options.components > math::maxComponents)
    throw invalidOption("components", "1 to " + std::to_string(math::maxComponents) + " mixture components",
                        std::to_string(options.components));
  if (!(options.minStd >= 1e-4 && options.minStd <= 1))
    throw invalidOption("minStd", "a number between 0.0001 and 1", shown(options.minStd));
  if (options.iterations < 0)
    throw invalidOption("iterations", "an integer of at least 0", std::to_string(options.iterations));
  double total = 0;
  for (int64_t n = 0; n < count; ++n) {
    const double w = weights ? weights[n] : 1.0;
    if (!(w >= 0) || !std::isfinite(w)) throw invalidOption("weights", "finite numbers of at least 0", shown(w));
    total += w;
  }
  if (!(total > 0)) throw invalidOption("weights", "numbers with a positive sum", shown(total));
  for (int64_t n = 0; n < count * options.dimension; ++n)
    if (!std::isfinite(samples[n])) throw invalidOption("samples", "finite numbers", shown(samples[n]));
  if (options.dimension == 1) return Fitter<1>{samples, weights, count, options, 0, {}}.run();
  return Fitter<3>{samples, weights, count, options, 0, {}}.run();
}

}  // namespace wbsr

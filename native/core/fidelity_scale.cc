#include "core/fidelity_scale.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/error.h"
#include "core/loss_prepare.h"
#include "core/math/bdprepare.h"

namespace wbsr {
namespace {

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

}  // namespace

double fidelityScale(const LossSpec& spec, double typicalResidual) {
  if (!(spec.sigma > 0) || !std::isfinite(spec.sigma))
    throw invalidOption("loss.sigma", "a number above 0", shown(spec.sigma));
  if (!(typicalResidual > 0) || !std::isfinite(typicalResidual))
    throw invalidOption("typicalResidual", "a number above 0", shown(typicalResidual));
  checkMixture(spec.mixture);
  const double variance = static_cast<double>(spec.sigma) * spec.sigma;
  const double slope =
      spec.mixture.dimension == 1 ? largestSlope<1>(spec.mixture, variance) : largestSlope<3>(spec.mixture, variance);
  return std::max(typicalResidual, 1.1 * 2 * variance * slope);
}

}  // namespace wbsr

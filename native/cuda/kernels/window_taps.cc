#include "cuda/kernels/window_taps.h"

#include <algorithm>
#include <cmath>

#include "core/math/cubic.h"

namespace wbsr::cuda {
namespace {

double weightAt(Interpolation mode, double a, double distance) {
  return mode == Interpolation::Bicubic ? math::cubicKernel(distance, a) : std::max(0., 1 - std::fabs(distance));
}

}  // namespace

AxisTaps resizeTaps(Interpolation mode, double a, int inputs, int outputs, int64_t num, int64_t den) {
  AxisTaps taps(static_cast<size_t>(outputs));
  const int reach = mode == Interpolation::Bicubic ? 2 : 1;
  for (int o = 0; o < outputs; ++o) {
    auto& mine = taps[static_cast<size_t>(o)];
    if (mode == Interpolation::Nearest) {
      mine = {{static_cast<int>(std::min<int64_t>(int64_t{o} * num / den, inputs - 1)), 1.f}};
      continue;
    }
    const double centre = (o + 0.5) * static_cast<double>(num) / static_cast<double>(den) - 0.5;
    const int base = static_cast<int>(std::floor(centre));
    std::vector<std::pair<int, double>> sums;  // inputs beyond the ends add to the nearest one
    for (int i = base - reach + 1; i <= base + reach; ++i) {
      const int at = std::clamp(i, 0, inputs - 1);
      const double weight = weightAt(mode, a, centre - i);
      if (!sums.empty() && sums.back().first == at)
        sums.back().second += weight;
      else
        sums.emplace_back(at, weight);
    }
    for (const auto& [at, weight] : sums)
      if (weight != 0) mine.emplace_back(at, static_cast<float>(weight));
  }
  return taps;
}

AxisTaps averageTaps(const std::vector<Window>& windows) {
  AxisTaps taps;
  for (const Window& window : windows) {
    taps.emplace_back();
    for (int i = window.begin; i < window.end; ++i)
      taps.back().emplace_back(i, 1.f / static_cast<float>(window.length));
  }
  return taps;
}

}  // namespace wbsr::cuda

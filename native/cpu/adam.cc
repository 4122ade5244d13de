#include "cpu/adam.h"

#include <algorithm>

namespace wbsr::cpu {

Adam::Adam(const Graph& graph) : graph_(graph), shells_(parameterShells(graph)) {
  counts.assign(graph.parameters().size() * graph.widths().size(), 0);
}

void Adam::step(const std::vector<int>& touched, const AdamSettings& settings, float* weights, const float* gradients,
                float* m, float* v, float* ema) {
  adamSteps(graph_, touched, settings, counts, steps_);
  for (size_t p = 0; p < graph_.parameters().size(); ++p) {
    const int largest = touched[p];
    if (largest < 0) continue;
    const Parameter& parameter = graph_.parameters()[p];
    const std::vector<int>&outAt = shells_[p].out, &inAt = shells_[p].in;
    const math::AdamStep* steps = steps_.data() + p * graph_.widths().size();
    const int64_t rowFloats = parameter.count / parameter.shape[0];
    const int area = parameter.isBias ? 1 : parameter.shape[2] * parameter.shape[3];
    auto run = [&](int64_t from, int64_t to, const math::AdamStep& step) {
      for (int64_t i = from; i < to; ++i) math::adamStep(weights[i], gradients[i], m[i], v[i], step);
      if (ema)
        for (int64_t i = from; i < to; ++i) math::emaStep(ema[i], weights[i], step);
    };
#pragma omp parallel for schedule(static) if (parameter.count > 8192)
    for (int o = 0; o < outAt[static_cast<size_t>(largest)]; ++o) {
      int band = 0;
      while (o >= outAt[static_cast<size_t>(band)]) ++band;
      const int64_t row = parameter.offset + o * rowFloats;
      for (int w = 0, first = 0; w <= largest; ++w) {
        const int last = inAt[static_cast<size_t>(w)];
        if (last > first) run(row + int64_t{first} * area, row + int64_t{last} * area, steps[std::max(band, w)]);
        first = std::max(first, last);
      }
    }
  }
}

}  // namespace wbsr::cpu

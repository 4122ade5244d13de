#include "cpu/adam.h"

#include <algorithm>

#include "core/math/adam.h"

namespace wbsr::cpu {

Adam::Adam(const Graph& graph) : graph_(graph) {
  const size_t widths = graph.widths().size();
  counts.assign(graph.parameters().size() * widths, 0);
  out_.resize(graph.parameters().size());
  in_.resize(graph.parameters().size());
  for (int width : graph.widths()) {
    const std::vector<int> channels = graph.channels(width);
    for (size_t p = 0; p < graph.parameters().size(); ++p) {
      const Parameter& parameter = graph.parameters()[p];
      out_[p].push_back(channels[parameter.node]);
      if (!parameter.isBias) in_[p].push_back(channels[graph.nodes()[parameter.node].inputs[0]]);
    }
  }
}

void Adam::step(const std::vector<int>& touched, const AdamSettings& s, float* weights, const float* gradients, float* m, float* v, float* ema) {
  const int widths = static_cast<int>(graph_.widths().size());
  for (size_t p = 0; p < graph_.parameters().size(); ++p) {
    const int largest = touched[p];
    if (largest < 0) continue;
    const Parameter& parameter = graph_.parameters()[p];
    std::vector<math::AdamStep> steps;
    for (int w = 0; w <= largest; ++w)
      steps.push_back(math::makeAdamStep(s.learningRate, s.beta1, s.beta2, s.epsilon, s.weightDecay, s.emaDecay,
                                         ++counts[p * static_cast<size_t>(widths) + static_cast<size_t>(w)]));
    const int rows = out_[p][largest];
    const int64_t rowFloats = parameter.count / parameter.shape[0];
    const int area = parameter.isBias ? 1 : parameter.shape[2] * parameter.shape[3];
    auto run = [&](int64_t from, int64_t to, const math::AdamStep& step) {
      for (int64_t i = from; i < to; ++i) math::adamStep(weights[i], gradients[i], m[i], v[i], step);
      if (ema)
        for (int64_t i = from; i < to; ++i) math::emaStep(ema[i], weights[i], step);
    };
#pragma omp parallel for schedule(static) if (parameter.count > 8192)
    for (int o = 0; o < rows; ++o) {
      int band = 0;
      while (o >= out_[p][band]) ++band;
      const int64_t row = parameter.offset + o * rowFloats;
      if (parameter.isBias) {
        run(row, row + 1, steps[band]);
        continue;
      }
      for (int w = 0, first = 0; w <= largest; ++w) {
        const int last = in_[p][w];
        if (last > first) run(row + int64_t{first} * area, row + int64_t{last} * area, steps[std::max(band, w)]);
        first = std::max(first, last);
      }
    }
  }
}

}  // namespace wbsr::cpu

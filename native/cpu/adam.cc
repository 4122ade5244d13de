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
    const ParameterShells& shells = shells_[p];
    const math::AdamStep* steps = steps_.data() + p * graph_.widths().size();
    const int rows = static_cast<int>(shells.rows.size()), columns = static_cast<int>(shells.columns.size());
    const int64_t rowFloats = int64_t{columns} * shells.area;
    auto run = [&](int64_t from, int64_t to, const math::AdamStep& step) {
      for (int64_t i = from; i < to; ++i) math::adamStep(weights[i], gradients[i], m[i], v[i], step);
      if (ema)
        for (int64_t i = from; i < to; ++i) math::emaStep(ema[i], weights[i], step);
    };
#pragma omp parallel for schedule(static) if (parameter.count > 8192)
    for (int r = 0; r < rows; ++r) {
      if (shells.rows[static_cast<size_t>(r)] > largest) continue;
      const int64_t row = parameter.offset + r * rowFloats;
      // Runs of columns of one shell.
      for (int first = 0, last = 0; first < columns; first = last) {
        const int shell = shells.columns[static_cast<size_t>(first)];
        while (last < columns && shells.columns[static_cast<size_t>(last)] == shell) ++last;
        if (shell > largest) continue;
        run(row + int64_t{first} * shells.area, row + int64_t{last} * shells.area,
            steps[std::max(shells.rows[static_cast<size_t>(r)], shell)]);
      }
    }
  }
}

}  // namespace wbsr::cpu

#include "core/adam_steps.h"

#include <algorithm>

namespace wbsr {

namespace {

// Writes the shell of every index of a dimension: the first width whose ranges hold it.
std::vector<int> shellsOf(const Graph& graph, const Parameter& parameter, size_t index, size_t dimension) {
  const int widths = static_cast<int>(graph.widths().size());
  std::vector<int> shells(static_cast<size_t>(parameter.shape[dimension]), widths - 1);
  for (int w = widths - 1; w >= 0; --w) {
    const WidthInfo& info = graph.at(graph.widths()[static_cast<size_t>(w)]);
    for (const Range& range : info.parameters[static_cast<size_t>(parameter.node)][index][dimension])
      std::fill_n(shells.begin() + range.from, range.count, w);
  }
  return shells;
}

}  // namespace

std::vector<ParameterShells> parameterShells(const Graph& graph) {
  std::vector<ParameterShells> result;
  for (size_t p = 0; p < graph.parameters().size(); ++p) {
    const Parameter& parameter = graph.parameters()[p];
    const size_t index = p - static_cast<size_t>(graph.firstParameter(parameter.node));
    ParameterShells shells;
    shells.rows = shellsOf(graph, parameter, index, 0);
    shells.columns = parameter.shape.size() > 1 ? shellsOf(graph, parameter, index, 1) : std::vector<int>{0};
    shells.area = static_cast<int>(parameter.count / static_cast<int64_t>(shells.rows.size() * shells.columns.size()));
    result.push_back(std::move(shells));
  }
  return result;
}

std::vector<int> touchedWidths(const Graph& graph, const std::vector<int>& subnets) {
  std::vector<int> touched(graph.parameters().size(), -1);
  for (const int subnet : subnets) {
    const SubnetInfo& info = graph.subnets()[static_cast<size_t>(subnet)];
    const int width =
        static_cast<int>(std::find(graph.widths().begin(), graph.widths().end(), info.width) - graph.widths().begin());
    std::vector<bool> alive;
    graph.resolve(info.depth, alive);
    for (size_t p = 0; p < touched.size(); ++p)
      if (alive[static_cast<size_t>(graph.parameters()[p].node)]) touched[p] = std::max(touched[p], width);
  }
  return touched;
}

void adamSteps(const Graph& graph, const std::vector<int>& touched, const AdamSettings& s, std::vector<int32_t>& counts,
               std::vector<math::AdamStep>& steps) {
  const size_t widths = graph.widths().size();
  steps.resize(counts.size());
  for (size_t p = 0; p < touched.size(); ++p)
    for (int w = 0; w <= touched[p]; ++w) {
      const size_t slice = p * widths + static_cast<size_t>(w);
      steps[slice] =
          math::makeAdamStep(s.learningRate, s.beta1, s.beta2, s.epsilon, s.weightDecay, s.emaDecay, ++counts[slice]);
    }
}

}  // namespace wbsr

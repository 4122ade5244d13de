#include "core/adam_steps.h"

namespace wbsr {

std::vector<ParameterShells> parameterShells(const Graph& graph) {
  std::vector<ParameterShells> shells(graph.parameters().size());
  for (int width : graph.widths()) {
    const std::vector<int> channels = graph.channels(width);
    for (size_t p = 0; p < shells.size(); ++p) {
      const Parameter& parameter = graph.parameters()[p];
      const size_t node = static_cast<size_t>(parameter.node);
      shells[p].out.push_back(channels[node]);
      shells[p].in.push_back(parameter.isBias ? 1 : channels[static_cast<size_t>(graph.nodes()[node].inputs[0])]);
    }
  }
  return shells;
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

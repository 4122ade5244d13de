// Which weights an optimizer step touches and what each slice's step is: the same for every device.
//
// A weight of shape (O, I, k, k) falls into shells, one per width: shell s holds what width s adds to width s - 1. A step
// touches the shells up to the largest width that ran; the others keep weight, moments, EMA and count.
#pragma once
#include <cstdint>
#include <vector>

#include "core/graph.h"
#include "core/math/adam.h"

namespace wbsr {

struct AdamSettings {
  float learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
};

// Channels of one parameter at every width, ascending. Element (o, i) is in the first shell s with o < out[s] and i < in[s].
struct ParameterShells {
  std::vector<int> out, in;  // in: 1 for biases
};
std::vector<ParameterShells> parameterShells(const Graph& graph);

// touched[p]: index of the largest width that used parameter p in this step, -1: none. Counts the step in counts
// (parameters, widths) and writes the touched shells of steps (parameters, widths), which is sized here.
void adamSteps(const Graph& graph, const std::vector<int>& touched, const AdamSettings& settings,
               std::vector<int32_t>& counts, std::vector<math::AdamStep>& steps);

}  // namespace wbsr

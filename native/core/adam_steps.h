// Which weights an optimizer step touches and what each slice's step is: the same for every device.
//
// A parameter falls into shells, one per width: shell s holds what width s adds to width s - 1. A step touches the shells
// up to the largest width that ran; the others keep weight, moments, EMA and count.
#pragma once
#include <cstdint>
#include <vector>

#include "core/graph.h"
#include "core/math/adam.h"

namespace wbsr {

struct AdamSettings {
  float learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
};

// A parameter as rows (its first dimension) of columns (its second one, or 1) of `area` numbers. Element (r, c) is in
// shell max(rows[r], columns[c]).
struct ParameterShells {
  std::vector<int> rows, columns;
  int area = 1;
};
std::vector<ParameterShells> parameterShells(const Graph& graph);

// Per parameter the index of the largest width among the subnets that use it; -1: none does.
std::vector<int> touchedWidths(const Graph& graph, const std::vector<int>& subnets);

// touched: touchedWidths() of the step's subnets. Counts the step in counts
// (parameters, widths) and writes the touched shells of steps (parameters, widths), which is sized here.
void adamSteps(const Graph& graph, const std::vector<int>& touched, const AdamSettings& settings,
               std::vector<int32_t>& counts, std::vector<math::AdamStep>& steps);

}  // namespace wbsr

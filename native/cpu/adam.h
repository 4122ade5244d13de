// The optimizer over slices of shared weights.
#pragma once
#include <cstdint>
#include <vector>

#include "core/graph.h"

namespace wbsr::cpu {

struct AdamSettings { float learningRate, beta1, beta2, epsilon, weightDecay, emaDecay; };

// Step counts and the update. A weight of shape (O, I, k, k) falls into shells, one per width: shell s holds what width
// s adds to width s - 1. A step touches the shells up to the largest width that ran; the others keep weight, moments,
// EMA and count.
class Adam {
 public:
  explicit Adam(const Graph& graph);
  // touched[p]: index of the largest width that used parameter p in this step, -1: none.
  void step(const std::vector<int>& touched, const AdamSettings& settings, float* weights, const float* gradients, float* m, float* v, float* ema);
  std::vector<int32_t> counts;  // (parameters, widths)

 private:
  const Graph& graph_;
  std::vector<std::vector<int>> out_, in_;  // per parameter: channels at each width (in_ empty for biases)
};

}  // namespace wbsr::cpu

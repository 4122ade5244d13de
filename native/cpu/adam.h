// The optimizer over slices of shared weights (core/adam_steps.h).
#pragma once
#include <cstdint>
#include <vector>

#include "core/adam_steps.h"

namespace wbsr::cpu {

// Step counts and the update.
class Adam {
 public:
  explicit Adam(const Graph& graph);
  // touched[p]: index of the largest width that used parameter p in this step, -1: none.
  void step(const std::vector<int>& touched, const AdamSettings& settings, float* weights, const float* gradients,
            float* m, float* v, float* ema);
  std::vector<int32_t> counts;  // (parameters, widths)

 private:
  const Graph& graph_;
  std::vector<ParameterShells> shells_;
  std::vector<math::AdamStep> steps_;
};

}  // namespace wbsr::cpu

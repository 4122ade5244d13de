// What an Executable keeps per step: only convolutions need anything. For executable.cc and conv_steps.cc.
#pragma once
#include <optional>

#include "cpu/executable.h"

namespace wbsr::cpu {

struct Executable::Compiled {
  ConvShape shape{};
  std::optional<ForwardPrimitive> forward;  // also the data gradient of a thin-output convolution
  std::optional<BackwardDataPrimitive> backwardData;
  std::optional<BackwardWeightsPrimitive> backwardWeights;
  bool deferred = false;   // the reader applies this convolution's activation
  float inputSlope = 1.f;  // applied to the input on its way in
};

}  // namespace wbsr::cpu

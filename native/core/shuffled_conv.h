// Convolutions that write the enlarged map directly, in place of a convolution and a pixel shuffle.
#pragma once
#include <functional>

#include "core/program.h"

namespace wbsr {

// out = activation(pixelShuffle(conv(in0))), filters sub-pixel first (Value::groups). Its operator is the convolution's.
inline constexpr StepKind kConvShuffled = "conv.pixelShuffle";

// Whether the device runs conv and shuffle, which are steps of the program, as one step.
using TakesShuffle = std::function<bool(const Program& program, const Step& conv, const Step& shuffle)>;

// Joins each pixel shuffle with the plain convolution before it where nothing else reads the convolution's value and
// `takes` agrees. After differentiate(), whose steps stay as they are: the gradients need only the enlarged value.
void fuseShuffles(Program& program, const TakesShuffle& takes);

}  // namespace wbsr

// Times plans of one convolution on buffers of their own.
#pragma once
#include <memory>
#include <vector>

#include "cuda/conv/conv.h"

namespace wbsr::cuda {

// The index of the fastest of the plans on the current device, by events on a stream of its own. 0 if the device has
// too little memory to try them.
size_t fastestPlan(const ConvSpec& spec, const std::vector<std::unique_ptr<ConvPlan>>& plans);

}  // namespace wbsr::cuda

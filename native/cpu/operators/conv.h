#pragma once
#include "core/program.h"

namespace wbsr::cpu {

// Whether the convolution, whose value is sub-pixel first, can write what a pixel shuffle makes of it (core/shuffled_conv.h).
bool writesShuffled(const Program& program, const Step& conv, int lanes);

}  // namespace wbsr::cpu

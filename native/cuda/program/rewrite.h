// What the CUDA device runs as one step, and changes to a Program after differentiate() and before plan():
//   conv backward data + activation's     -> one step with the activation's output as gate (in[1])
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

// wbsr::Supports. An addition goes to the upsampling rather than to a convolution, rather than to scaleChannels.
int supports(const Program& program, const Step& step);
void rewrite(Program& program);

}  // namespace wbsr::cuda

// Fuses the gradient of a relu into the convolution that computes its operand, after differentiate() and before plan():
//   conv.backwardData + activation.backward -> one step with the activation's output as gate (in[1])
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

void fuseGates(Program& program);

}  // namespace wbsr::cuda

// Fuses the steps behind the convolution that computes a data gradient into it, after differentiate() and before plan():
//   conv.backwardData + add                  the other addend, if it is there before, becomes the residual
//   conv.backwardData + activation.backward  of a relu: the activation's output becomes the gate (in[1])
// Of both the sum comes first: out = (convolution of in[0] + residual) * activation'(in[1]).
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

void fuseGradientEnds(Program& program);

}  // namespace wbsr::cuda

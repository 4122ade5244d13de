// Changes a Program to what the CUDA device runs best, after differentiate() and before plan():
//   conv + (residual = upsampled value)   -> conv, then one upsample kernel that adds it (Upsample's in[1])
//   scale channels + add                  -> one kernel (ScaleChannels' residual)
//   conv backward data + activation's     -> one step with the activation's output as gate (in[1])
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

void rewrite(Program& program);

}  // namespace wbsr::cuda

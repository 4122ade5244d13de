// The constant c of BDLoss with a data term that grows linearly (losses::Balancing::Clamped).
#pragma once
#include "core/loss_spec.h"

namespace wbsr {

// c: the larger of typicalResidual and 1.1 x the largest slope of 2 sigma^2 LSE over [0, 1]^D in any one channel
// (math/bdloss.h). spec.fidelityScale is not read. Throws WBSR_INVALID_OPTION for a spec or a residual out of range.
double fidelityScale(const LossSpec& spec, double typicalResidual);

}  // namespace wbsr

// In-place distillation: what the smaller subnets of a training step aim at, instead of HR alone. The first subnet of the
// step, the largest one, is the teacher; no gradient passes through its output.
//
// Internal linkage, no standard headers: compiled with several instruction sets, see fastmath.h.
#pragma once
#include "core/math/host_device.h"

namespace wbsr::math {

// hr in [0, 1]; teacher: its output, clamped to [0, 1] here, where a loss may ask for targets of that range.
// share: 0 (HR) .. 1 (the teacher).
WBSR_HD static inline float distilledTarget(float hr, float teacher, float share) {
  const float clamped = teacher < 0.f ? 0.f : teacher > 1.f ? 1.f : teacher;
  return hr + share * (clamped - hr);
}

}  // namespace wbsr::math

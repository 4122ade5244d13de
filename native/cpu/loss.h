// Training losses on whole batches with their gradients, but for the frequency term (cpu/frequency_loss.h). The formulas
// are in core/losses/ and core/math/bdloss.h, the vector loops in cpu/simd/loss_kernel.inc; this file adds threads
// and sums.
#pragma once
#include <cstdint>
#include <vector>

#include "core/loss_spec.h"
#include "cpu/simd/loss_kernel.h"

namespace wbsr::cpu {

using wbsr::LossSpec;
using wbsr::LossSums;

// prediction, target, gradient: planar (batch, 3, plane). gradient (may be null) receives dL/dprediction of the mean
// loss times gradientScale. Results do not depend on the number of threads (omp_get_max_threads() are used). Throws
// wbsr::Error WBSR_INVALID_OPTION for a spec out of range. Values that are not finite make a loss that is not finite.
LossSums evaluateLoss(const LossSpec& spec, const float* prediction, const float* target, int64_t batch, int64_t plane,
                      float* gradient, float gradientScale);

// The same for interleaved (pixels, spec.dimension) values.
LossSums evaluateLossInterleaved(const LossSpec& spec, const float* prediction, const float* target, int64_t pixels,
                                 float* gradient, float gradientScale);

// evaluateLoss with a chosen kernel: for tests.
LossSums evaluateLossWith(LossKernel kernel, const LossSpec& spec, const float* prediction, const float* target,
                          int64_t batch, int64_t plane, float* gradient, float gradientScale);

}  // namespace wbsr::cpu

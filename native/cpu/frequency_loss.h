// The frequency term of the training loss on whole batches. The formulas are in core/math/frequency.h, the loops in
// cpu/simd/frequency.inc; this file adds matrices, threads and sums.
#pragma once
#include <cstdint>

#include "core/loss_spec.h"
#include "cpu/simd/frequency.h"

namespace wbsr::cpu {

// prediction, target, gradient: planar (batch, 3, height, width). Adds the term to sums, and its gradient times
// gradientScale to gradient (may be null). Nothing where spec.frequency is 0. Results do not depend on the number of threads
// (omp_get_max_threads() are used). Values that are not finite make a term that is not finite.
void addFrequencyTerm(const LossSpec& spec, const float* prediction, const float* target, int batch, int height,
                      int width, float* gradient, float gradientScale, LossSums& sums);

// How many sizes' matrices were built so far, which are kept for the sizes used last: for tests.
int64_t frequencyMatricesBuilt();

// addFrequencyTerm with a chosen kernel: for tests.
void addFrequencyTermWith(const simd::FrequencyKernel& kernel, const LossSpec& spec, const float* prediction,
                          const float* target, int batch, int height, int width, float* gradient, float gradientScale,
                          LossSums& sums);

}  // namespace wbsr::cpu

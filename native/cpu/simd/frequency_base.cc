#include "cpu/simd/base.inc"

#include "cpu/simd/frequency.inc"

namespace wbsr::simd {
const FrequencyKernel* baseFrequency() { return &base::frequencyKernel; }
}  // namespace wbsr::simd

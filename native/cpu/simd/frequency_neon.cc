#include "cpu/simd/neon.inc"

#include "cpu/simd/frequency.inc"

namespace wbsr::simd {
const FrequencyKernel* neonFrequency() { return &neon::frequencyKernel; }
}  // namespace wbsr::simd

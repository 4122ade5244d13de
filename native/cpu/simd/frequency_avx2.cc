#include "cpu/simd/avx2.inc"

#include "cpu/simd/frequency.inc"

namespace wbsr::simd {
const FrequencyKernel* avx2Frequency() { return &avx2::frequencyKernel; }
}  // namespace wbsr::simd

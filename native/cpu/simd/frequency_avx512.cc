#include "cpu/simd/avx512.inc"

#include "cpu/simd/frequency.inc"

namespace wbsr::simd {
const FrequencyKernel* avx512Frequency() { return &avx512::frequencyKernel; }
}  // namespace wbsr::simd

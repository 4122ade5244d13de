#include "cpu/simd/avx512.inc"

#include "cpu/simd/pointwise.inc"

namespace wbsr::simd {
const Pointwise* avx512Pointwise() { return &avx512::pointwiseTable; }
}  // namespace wbsr::simd

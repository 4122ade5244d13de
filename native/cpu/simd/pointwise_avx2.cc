#include "cpu/simd/avx2.inc"

#include "cpu/simd/pointwise.inc"

namespace wbsr::simd {
const Pointwise* avx2Pointwise() { return &avx2::pointwiseTable; }
}  // namespace wbsr::simd

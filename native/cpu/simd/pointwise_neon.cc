#include "cpu/simd/neon.inc"

#include "cpu/simd/pointwise.inc"

namespace wbsr::simd {
const Pointwise* neonPointwise() { return &neon::pointwiseTable; }
}  // namespace wbsr::simd

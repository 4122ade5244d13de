#define LANES 8
#define KERNELS_NAMESPACE avx2
#include "cpu/simd/pointwise.inc"

namespace wbsr::simd {
const Pointwise* avx2Pointwise() { return &avx2::pointwiseTable; }
}  // namespace wbsr::simd

#define LANES 16
#define KERNELS_NAMESPACE avx512
#include "cpu/simd/pointwise.inc"

namespace wbsr::simd {
const Pointwise* avx512Pointwise() { return &avx512::pointwiseTable; }
}  // namespace wbsr::simd

#define LANES 8
#define KERNELS_NAMESPACE avx2
#define KERNELS_NAME "avx2"
#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* avx2Kernels() { return &avx2::table; }
}  // namespace wbsr::simd

#define LANES 8
#define KERNELS_NAMESPACE avx2
#include "cpu/simd/winograd.inc"

namespace wbsr::simd {
const Winograd* avx2Winograd() { return &avx2::winogradTable; }
}  // namespace wbsr::simd

#define LANES 16
#define KERNELS_NAMESPACE avx512
#include "cpu/simd/winograd.inc"

namespace wbsr::simd {
const Winograd* avx512Winograd() { return &avx512::winogradTable; }
}  // namespace wbsr::simd

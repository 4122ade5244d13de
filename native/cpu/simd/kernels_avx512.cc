#define LANES 16
#define KERNELS_NAMESPACE avx512
#define KERNELS_NAME "avx512"
#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* avx512Kernels() { return &avx512::table; }
}  // namespace wbsr::simd

#include "cpu/simd/neon.inc"

#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* neonKernels() { return &neon::table; }
}  // namespace wbsr::simd

#include "cpu/simd/avx2.inc"

#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* avx2Kernels() { return &avx2::table; }
}  // namespace wbsr::simd

#include "cpu/simd/avx512.inc"

#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* avx512Kernels() { return &avx512::table; }
}  // namespace wbsr::simd

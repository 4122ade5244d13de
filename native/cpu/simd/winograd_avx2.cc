#include "cpu/simd/avx2.inc"

#include "cpu/simd/winograd.inc"

namespace wbsr::simd {
const Winograd* avx2Winograd() { return &avx2::winogradTable; }
}  // namespace wbsr::simd

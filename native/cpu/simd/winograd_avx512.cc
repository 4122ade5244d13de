#include "cpu/simd/avx512.inc"

#include "cpu/simd/winograd.inc"

namespace wbsr::simd {
const Winograd* avx512Winograd() { return &avx512::winogradTable; }
}  // namespace wbsr::simd

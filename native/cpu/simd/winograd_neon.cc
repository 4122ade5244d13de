#include "cpu/simd/neon.inc"

#include "cpu/simd/winograd.inc"

namespace wbsr::simd {
const Winograd* neonWinograd() { return &neon::winogradTable; }
}  // namespace wbsr::simd

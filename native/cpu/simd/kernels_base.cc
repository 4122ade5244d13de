#include "cpu/simd/base.inc"

#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* baseKernels() { return &base::table; }
}  // namespace wbsr::simd

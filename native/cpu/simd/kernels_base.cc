#define LANES 8
#define KERNELS_NAMESPACE base
#define KERNELS_NAME "base"
#include "cpu/simd/kernels.inc"

namespace wbsr::simd {
const Kernels* baseKernels() { return &base::table; }
}  // namespace wbsr::simd

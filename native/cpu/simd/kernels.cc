// Which set of kernels this processor runs.
#include "core/error.h"
#include "cpu/simd/kernels.h"

namespace wbsr::simd {

const Kernels& kernels(int lanes) {
#if defined(__x86_64__)
  if (lanes == 16) {
    WBSR_CHECK(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"));
    return *avx512Kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return *avx2Kernels();
#endif
  WBSR_CHECK(lanes == 8);
  return *baseKernels();
}

}  // namespace wbsr::simd

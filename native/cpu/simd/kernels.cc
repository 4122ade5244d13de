// Which set of kernels this processor runs.
#include "cpu/simd/kernels.h"
#include "cpu/simd/pointwise.h"
#include "cpu/simd/winograd.h"

#include "core/error.h"
#include "core/instruction_set.h"

namespace wbsr::simd {

const Kernels& kernels(int lanes) {
#if defined(__x86_64__)
  if (lanes == 16) {
    WBSR_CHECK(instructionSet() == InstructionSet::Avx512);
    return *avx512Kernels();
  }
  if (instructionSet() != InstructionSet::Base) return *avx2Kernels();
#endif
  WBSR_CHECK(lanes == 8);
  return *baseKernels();
}

const Pointwise* pointwise(int lanes) {
  const Kernels& set = kernels(lanes);
  return &set == avx512Kernels() ? avx512Pointwise() : &set == avx2Kernels() ? avx2Pointwise() : nullptr;
}

const Winograd* winograd(int lanes) {
  const Kernels& set = kernels(lanes);
  return &set == avx512Kernels() ? avx512Winograd() : &set == avx2Kernels() ? avx2Winograd() : nullptr;
}

}  // namespace wbsr::simd

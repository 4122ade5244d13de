// Which set of kernels this processor runs.
#include "cpu/simd/kernels.h"

#include "core/error.h"
#include "core/instruction_set.h"
#include "cpu/simd/int8.h"
#include "cpu/simd/pointwise.h"
#include "cpu/simd/winograd.h"

namespace wbsr::simd {
namespace {

struct Set {
  const Kernels* kernels;
  const Pointwise* pointwise;
  const Winograd* winograd;
};

Set setOf(int lanes) {
#if defined(__x86_64__)
  if (lanes == 16) {
    WBSR_CHECK(instructionSet() == InstructionSet::Avx512);
    return {avx512Kernels(), avx512Pointwise(), avx512Winograd()};
  }
  WBSR_CHECK(lanes == 8);
  if (instructionSet() == InstructionSet::Base) return {baseKernels(), nullptr, nullptr};
  return {avx2Kernels(), avx2Pointwise(), avx2Winograd()};
#else
  WBSR_CHECK(lanes == 8);
#if defined(__aarch64__)
  return {neonKernels(), neonPointwise(), neonWinograd()};
#else
  return {baseKernels(), nullptr, nullptr};
#endif
#endif
}

}  // namespace

const Kernels& kernels(int lanes) { return *setOf(lanes).kernels; }
const Pointwise* pointwise(int lanes) { return setOf(lanes).pointwise; }
const Winograd* winograd(int lanes) { return setOf(lanes).winograd; }

const Int8* int8([[maybe_unused]] int lanes) {
#if defined(__x86_64__)
  if (hasAmxInt8() && lanes == amxInt8()->lanes) return amxInt8();
#endif
  return nullptr;
}

}  // namespace wbsr::simd

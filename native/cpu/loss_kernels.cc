#include "cpu/loss_kernels.h"

#include "core/instruction_set.h"

namespace wbsr::cpu {
namespace {

std::vector<LossKernels> findKernels() {
  std::vector<LossKernels> out;
#if defined(__aarch64__)
  out.push_back({"neon", lossKernelNeon, simd::neonFrequency()});
#else
#if defined(__x86_64__)
  if (instructionSet() == InstructionSet::Avx512) out.push_back({"avx512", lossKernelAvx512, simd::avx512Frequency()});
  if (instructionSet() != InstructionSet::Base) out.push_back({"avx2", lossKernelAvx2, simd::avx2Frequency()});
#endif
  out.push_back({"base", lossKernelBase, simd::baseFrequency()});
#endif
  return out;
}

}  // namespace

const std::vector<LossKernels>& lossKernels() {
  static const std::vector<LossKernels> kernels = findKernels();
  return kernels;
}

}  // namespace wbsr::cpu

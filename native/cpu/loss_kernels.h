// The kernels of the training loss by instruction set.
#pragma once
#include <vector>

#include "cpu/simd/frequency.h"
#include "cpu/simd/loss_kernel.h"

namespace wbsr::cpu {

struct LossKernels {
  const char* name;
  LossKernel kernel;
  const simd::FrequencyKernel* frequency;
};

// Those that this CPU can run, fastest first.
const std::vector<LossKernels>& lossKernels();

}  // namespace wbsr::cpu

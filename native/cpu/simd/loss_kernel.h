// The loss over a run of pixels, compiled once per instruction set (loss_*.cc).
// Plain data only: nothing of the standard library may be instantiated in those files, or the linker could pick an
// AVX-512 copy of an inline function for the whole program.
#pragma once
#include "core/losses/table.h"
#include "core/math/bdloss.h"

namespace wbsr::cpu {

// Pixels per partial sum. Partial sums are added in order whoever computed them, so results do not depend on threads.
constexpr long lossChunk = 1024;

struct LossKernelArguments {
  const float* prediction[3];  // one pointer per dimension, `count` values each
  const float* target[3];
  float* gradient[3];  // null: not wanted
  long count;
  int dimension;                                // 1 or 3
  ElementLoss element;                          // data term
  int components;                               // 0: no balancing term
  const math::BdComponent<1, float>* balance1;  // for dimension 1
  const math::BdComponent<3, float>* balance3;  // for dimension 3
  float balanceScale;                           // factor of LSE
  float gradientScale;                          // factor of every gradient written
};

struct LossKernelSums {
  double data, squared, lse;             // of the element loss, of e^2, of LSE
  double dataGradient, balanceGradient;  // absolute values; the balancing one without balanceScale
  double variance;                       // dLSE/dv
};

// At most lossChunk pixels.
using LossKernel = void (*)(const LossKernelArguments&, LossKernelSums*);

void lossKernelBase(const LossKernelArguments&, LossKernelSums*);
void lossKernelAvx2(const LossKernelArguments&, LossKernelSums*);
void lossKernelAvx512(const LossKernelArguments&, LossKernelSums*);
void lossKernelNeon(const LossKernelArguments&, LossKernelSums*);

}  // namespace wbsr::cpu

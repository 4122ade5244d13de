// Adam + EMA + packing of the weight slices in one launch over all parameters, and the way back: packed weight
// gradients into the flat gradient arena.
#pragma once
#include <cstdint>

#include "core/math/adam.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

constexpr int kMaxWidths = 16;

// One packed copy of a weight slice as cuDNN reads it: (outPadded, k, k, inPadded) of T, or a bias (outPadded) float.
struct Pack {
  void* data;
  int outChannels, inChannels;    // the slice; biases: inChannels 1
  int outPadded, inPadded;
  int groups;                     // > 1: filter c * groups + p of the master goes to row p * padded(outChannels / groups) + c
  bool bf16;                      // else float
};

// One parameter of the flat arenas, as the kernel wants it.
struct ParameterEntry {
  int64_t offset;                 // in floats
  int rows, columns, area;        // weight (O, I, k * k); bias: (O, 1, 1)
  int firstRow;                   // rows of all parameters before this one
  int outAt[kMaxWidths], inAt[kMaxWidths];  // channels of every width shell, ascending; bias: inAt = 1
  int firstPack, packs;           // into the list of packs
  int firstStep;                  // into the AdamSteps: one per width shell
};

struct OptimizerArguments {
  const ParameterEntry* parameters; int parameterCount; int totalRows;  // device
  const Pack* packs;                                                    // device
  int widths;
  // Update: steps (one per parameter and width shell, device); touched[p]: largest width shell that the step ran, -1: none.
  const math::AdamStep* steps; const int32_t* touched;
  float *weights, *m, *v, *ema; const float* gradient;  // flat arenas, device; ema null: none is kept
  // Not 0: some loss or gradient was not finite; then nothing is written. The kernel only reads it.
  const int32_t* stop;
};

// update and pack in one pass. Elements outside the touched shells are left alone.
void adamStepAndPack(const OptimizerArguments& arguments, cudaStream_t stream);
// Only refreshes the packs from the weights.
void packWeights(const OptimizerArguments& arguments, cudaStream_t stream);
// *stop |= 1 where any of count gradients, or any of sumCount loss sums (doubles), is not finite.
void checkFinite(const float* gradient, int64_t count, const double* sums, int sumCount, int32_t* stop, cudaStream_t stream);
// gradient[master element] += packed element, for the slice. packed (outPadded, area, inPadded) float.
void addWeightGradient(const float* packed, const Pack& slice, int area, int fullIn, float* gradient, cudaStream_t stream);

}  // namespace wbsr::cuda

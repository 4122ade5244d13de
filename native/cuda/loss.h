// Fused training loss on the device: any element loss (core/losses/), with or without the balancing term for D = 1 and
// D = 3 (core/math/bdloss.h).
#pragma once
#include <cstdint>

#include "core/loss_spec.h"
#include "core/math/bdloss.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// What the kernel reads from device memory, so that a captured graph sees new values in each step.
struct LossParameters {
  int dimension = 1, components = 0;
  ElementLoss element = ElementLoss::L1;
  bool balanced = false, clamped = false;  // as PreparedLoss
  float gradientScale = 0;                 // of dL/dprediction: gradientScale / pixels of the whole mean
  float balanceScale = 0;
  double frequencyScale = 0;    // of the sum of absolute coefficients: weight / their number in the whole mean
  float frequencyGradient = 0;  // the same of its gradient
  union Components {
    math::BdComponent<1, float> one[math::maxComponents];
    math::BdComponent<3, float> three[math::maxComponents];
  } mixture = {};
};

// What means are taken over.
struct LossCounts {
  int64_t pixels = 0;       // values without a balancing term and for D = 1; RGB pixels for D = 3
  double coefficients = 0;  // math::frequencyCount, where the loss has a frequency term
};
// Of images of height x width pixels.
LossCounts countLoss(const LossSpec& spec, int batch, int height, int width);

// counts: of the whole mean. Throws as cpu::evaluateLoss.
LossParameters makeLossParameters(const LossSpec& spec, const LossCounts& counts, float gradientScale);

// Sums over values, in the order of LossKernelSums (cpu/simd/loss_kernel.h): data, squared, lse, dataGradient,
// balanceGradient, variance; then the weighted frequency term, which frequencyLoss() writes (frequency_loss.h) and loss()
// sets to 0.
constexpr int kLossSums = 7;
constexpr int kFrequencySum = 6;

// Interleaved RGB: prediction, target, gradient have 3 values a pixel at the given strides in floats (3, 4 or 8); padding
// of gradient becomes 0. gradient may be null. One launch; sums (kLossSums doubles on the device) are overwritten, and
// are the same bits in every run. count: RGB pixels.
size_t lossScratch(int64_t count);  // its first 16 bytes are zeroed once before the first use, and left zeroed
void loss(const LossParameters* parameters, const float* prediction, int predictionStride, const float* target,
          int targetStride, float* gradient, int gradientStride, int64_t count, double* sums, void* scratch,
          cudaStream_t stream);

// The report of sums over the pixels of the whole mean.
LossSums lossReport(const LossSpec& spec, const double* sums, int64_t pixels);

}  // namespace wbsr::cuda

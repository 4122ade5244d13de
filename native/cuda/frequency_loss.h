// The frequency term of the training loss on the device (core/math/frequency.h).
#pragma once
#include "cuda/loss.h"

namespace wbsr::cuda {

// Bytes that frequencyLoss() needs.
size_t frequencyScratch(int batch, int height, int width);

// Interleaved RGB at `stride` floats a pixel: prediction, target, gradient (batch, height, width). Adds the gradient of the
// term to `gradient`, behind loss(), and writes the weighted term of these images to *sum on the device: the same bits in
// every run.
void frequencyLoss(const LossParameters* parameters, const float* prediction, const float* target, float* gradient,
                   int stride, int batch, int height, int width, double* sum, void* scratch, cudaStream_t stream);

}  // namespace wbsr::cuda

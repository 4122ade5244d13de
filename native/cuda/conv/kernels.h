// Launchers of the kernels that convolutions need beside cuDNN. The rules of operators/kernels.h hold for them.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/node.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// --- epilogue.cu ---
// out = activation(conv + bias) + residual: what follows a convolution that has no fused end. bias (channels) and
// residual may be null; out may be residual, and conv where the types agree. channels: padded.
template <typename Conv, typename Out>
void convEpilogue(const Conv* conv, const float* bias, const Out* residual, Out* out, int64_t pixels, int channels,
                  ActivationKind kind, float slope, cudaStream_t stream);

// --- bias_gradient.cu ---
// gradient[c] += sum over pixels of dy[pixel][k(c)], c < channels. groups > 1: dy is ordered sub-pixel first, k(c) = (c %
// groups) * padded(channels / groups) + c / groups.
size_t biasGradientScratch(int64_t pixels, int paddedChannels);
template <typename T>
void biasGradient(const T* dy, float* gradient, int64_t pixels, int paddedChannels, int channels, int groups,
                  void* scratch, cudaStream_t stream);

// --- small_conv.cu: convolutions between thin values, and between pooled ones (height = width = 1) ---
// Master weights are used as they are: weight (O, I, k, k) float with fullIn = I, the slice outChannels x inChannels.
struct SmallConv {
  int batch, height, width;
  int inChannels, outChannels, inStride, outStride;  // strides: floats between pixels (padded counts)
  int kernel, fullIn;
  ActivationKind activation;
  float slope;
};
// out = activation(conv + bias) + residual; bias, residual may be null. Padding of out becomes 0.
void smallConv(const SmallConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out, cudaStream_t stream);
void smallConvBackwardData(const SmallConv& c, const float* dOut, const float* weight, float* dIn, cudaStream_t stream);
// weightGradient and biasGradient (may be null) of master layout are added to.
size_t smallConvScratch(const SmallConv& c);
void smallConvBackwardWeights(const SmallConv& c, const float* in, const float* dOut, float* weightGradient,
                              float* biasGradient, void* scratch, cudaStream_t stream);

}  // namespace wbsr::cuda

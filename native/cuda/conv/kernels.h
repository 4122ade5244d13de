// Launchers of the kernels that convolutions need beside cuDNN. The rules of operators/kernels.h hold for them.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/node.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// --- epilogue.cu ---
// After a convolution without a fused end: out = activation(t) + residual, or (t + residual) * (activation(t) + shift), with
// t = conv + bias.
struct Epilogue {
  const float* bias = nullptr;  // (channels), or null
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;
  const float* slopes = nullptr;  // (channels) of a leaky relu; null: `slope` holds for all
  bool product = false;
  float shift = 0.f;
};
// residual may be null; out may be residual, and conv if the types agree. channels: padded.
template <typename Conv, typename Out>
void convEpilogue(const Conv* conv, const Epilogue& end, const Out* residual, Out* out, int64_t pixels, int channels,
                  cudaStream_t stream);

// --- bias_gradient.cu ---
// partial (biasChunks, paddedChannels) = sums of dy (pixels, paddedChannels) over ranges of pixels: a ChannelSum
// (gradient_sums.h).
int biasChunks(int64_t pixels, int paddedChannels);
template <typename T>
void biasSums(const T* dy, float* partial, int64_t pixels, int paddedChannels, cudaStream_t stream);

// --- small_conv.cu: convolutions between thin values, and between pooled ones (height = width = 1) ---
// Master weights are used as they are: weight (O, I, k, k) float with fullIn = I, the slice outChannels x inChannels.
struct SmallConv {
  int batch, height, width;
  int inChannels, outChannels, inStride, outStride;  // strides: floats between pixels (padded counts)
  int kernel, fullIn;
  ActivationKind activation;
  float slope;
  // Device memory: the slice's channels among those of the weight, in order; null: the first ones. The bias has those
  // of the output.
  const int *outIndices = nullptr, *inIndices = nullptr;
};
// out = activation(conv + bias) + residual; bias, residual may be null. Padding of out becomes 0.
void smallConv(const SmallConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out, cudaStream_t stream);
void smallConvBackwardData(const SmallConv& c, const float* dOut, const float* weight, float* dIn, cudaStream_t stream);
// weightGradient and biasGradient (may be null) of master layout are added to.
size_t smallConvScratch(const SmallConv& c);
void smallConvBackwardWeights(const SmallConv& c, const float* in, const float* dOut, float* weightGradient,
                              float* biasGradient, void* scratch, cudaStream_t stream);

// --- direct.cu: the same with strides, any padding and groups ---
struct DirectConv {
  int batch, height, width, outHeight, outWidth;
  int inChannels, outChannels, inStride, outStride;
  int kernel, stride, padding, groups;
  int fullIn;  // columns of the weight, (O, I / groups, k, k)
  ActivationKind activation;
  float slope;
  const int *outIndices = nullptr, *inIndices = nullptr;  // as SmallConv's; in: of one group
  const int* biasIndices = nullptr;                       // of a transposed convolution's bias, per input channel
};
void directConv(const DirectConv& c, const float* x, const float* weight, const float* bias, const float* residual,
                float* y, cudaStream_t stream);
// bias and residual may be null; they and the activation are those of a transposed convolution, whose forward pass this is.
void directConvBackwardData(const DirectConv& c, const float* dy, const float* weight, const float* bias,
                            const float* residual, float* dx, cudaStream_t stream);
// gradient: of the weight, added to.
void directConvBackwardWeights(const DirectConv& c, const float* x, const float* dy, float* gradient,
                               cudaStream_t stream);

// --- depthwise.cu ---
// weight (area, channels) as Weights::columnPack has it; bias (channels) or null.
struct DepthwiseConv {
  int batch, height, width, outHeight, outWidth;
  int channels, realChannels;  // padded, and those that count
  int kernel, stride, padding;
  ActivationKind activation;
  float slope;
};
// y = activation(conv + bias) + residual
template <typename T>
void depthwiseConv(const DepthwiseConv& c, const T* x, const float* weight, const float* bias, const T* residual, T* y,
                   cudaStream_t stream);
template <typename T>
void depthwiseConvBackwardData(const DepthwiseConv& c, const T* dy, const float* weight, T* dx, cudaStream_t stream);
// partial (depthwiseChunks, area, channels) = the gradient of the weight over ranges of rows: a ChannelSum
// (gradient_sums.h).
int depthwiseChunks(const DepthwiseConv& c);
template <typename T>
void depthwiseConvBackwardWeights(const DepthwiseConv& c, const T* x, const T* dy, float* partial, cudaStream_t stream);

}  // namespace wbsr::cuda

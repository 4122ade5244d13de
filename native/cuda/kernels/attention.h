// The factors of channel attention: the mean over an image's pixels and two fully connected layers behind it.
#pragma once
#include <cstdint>

#include "core/node.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// outs = activation(bias + weight x ins); weight (., fullIn, area), of which the centre tap counts.
struct DenseLayer {
  int ins, outs;
  const float* weight;
  const float* bias;  // or null
  int fullIn, area;
  const int *outIndices, *inIndices;  // the channels of weight and bias; null: the first ones
};

struct Attention {
  int batch;
  int64_t pixels;
  int channels, outChannels;  // padded
  DenseLayer squeeze, excite;
  ActivationKind squeezed;  // None, Relu, LeakyRelu
  float squeezedSlope;
  ActivationKind excited;
  float excitedSlope;
};

// x (N, pixels, channels) -> sums (N, channelSumChunks(pixels), channels) over chunks of an image's pixels.
int channelSumChunks(int64_t pixels);
template <typename T>
void channelSums(const T* x, float* sums, int batch, int64_t pixels, int channels, cudaStream_t stream);

// Whether a block's shared memory has room for its means and squeezed channels.
bool hasAttention(const Attention& a);
// sums (N, chunks, channels), of all pixels of an image together -> factors (N, outChannels), padding 0. A block per image;
// before it another launch where there are so many chunks that one block would take longer.
size_t attentionScratch(const Attention& a, int chunks);
void attentionFactors(const Attention& a, const float* sums, int chunks, float* factors, void* scratch,
                      cudaStream_t stream);

}  // namespace wbsr::cuda

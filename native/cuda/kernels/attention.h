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

// Whether a block's shared memory has room for its means and squeezed channels.
bool hasAttention(const Attention& a);
size_t attentionScratch(const Attention& a);
// x (N, pixels, channels) -> factors (N, outChannels), padding 0. Two launches: partial sums, then the rest, a block per
// image.
template <typename T>
void attentionFactors(const Attention& a, const T* x, float* factors, void* scratch, cudaStream_t stream);

}  // namespace wbsr::cuda

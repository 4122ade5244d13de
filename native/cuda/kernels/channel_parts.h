// Values made of ranges of other values' channels: concatenations, slices, and their gradients.
#pragma once
#include "cuda/program/values.h"

namespace wbsr::cuda {

constexpr int kMaxParts = 16;

// A part of the output's channels. from (pixels, stride) of bf16 or float: its channel `first` becomes the output's
// channel `at`.
struct ChannelPart {
  const void* from;
  int stride;
  bool half;
  int first, at, count;
};

struct ChannelParts {
  ChannelPart parts[kMaxParts];
  int count;
};

// out (pixels, channels): channels of the parts, which follow one another; 0 where there is none. channels: padded.
template <typename T>
void gatherChannels(const ChannelParts& parts, T* out, int64_t pixels, int channels, cudaStream_t stream);

}  // namespace wbsr::cuda

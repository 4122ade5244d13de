// What a backward pass adds to the gradient arena at its end: weight gradients in the order in which cuDNN writes them,
// and partial sums of parameters with few numbers per channel. Until then each lies in a place of its own in
// Context::gradientParts, so that the pass needs one launch for all of the former and one for all of the latter. Every
// parameter belongs to one node, so no two of them are added to the same element.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/optimizer.h"

namespace wbsr::cuda {

// parts[from ...]: (outPadded, area, inPadded) of the slice, float or bf16.
struct WeightSum {
  int64_t from, to;  // in floats: into the parts; into the gradient arena, the parameter's first element
  Pack slice;        // its data is not read
  int area, fullIn;  // fullIn: the parameter's columns
  bool half;
  int columns = 0;     // channels of one row that a thread block adds
  int firstBlock = 0;  // of the launch
};

// parts[from ...]: (chunks, area, padded) float. The sum over the chunks of (tap, column of channel c) is added to the
// parameter's element (rows ? rows[c] : c) x area + tap. groups > 1: columns are ordered sub-pixel first, channel c in
// column (c % groups) x padded(channels / groups) + c / groups.
struct ChannelSum {
  int64_t from, to;
  int chunks, padded, channels;
  int groups = 1, area = 1;
  const int* rows = nullptr;
  int firstBlock = 0;
};

// Both lists on the device; weightOf, channelOf: for each thread block its place in the list.
struct GradientSumTables {
  const WeightSum* weights;
  const int* weightOf;
  int weightBlocks;
  const ChannelSum* channels;
  const int* channelOf;
  int channelBlocks;
};

// The lists of a pass, and the places of their parts.
class GradientSums {
 public:
  // The place of the part, which is also its `from`.
  int64_t add(WeightSum sum);
  int64_t add(ChannelSum sum);

  bool empty() const { return weights_.empty() && channels_.empty(); }
  size_t bytes() const { return sizeof(float) * static_cast<size_t>(floats_); }  // of all parts
  // upload(vector) -> its copy on the device.
  template <typename F>
  GradientSumTables tables(F&& upload) const {
    return {upload(weights_),  upload(weightOf_),  static_cast<int>(weightOf_.size()),
            upload(channels_), upload(channelOf_), static_cast<int>(channelOf_.size())};
  }

 private:
  int64_t place(int64_t floats);
  std::vector<WeightSum> weights_;
  std::vector<ChannelSum> channels_;
  std::vector<int> weightOf_, channelOf_;
  int64_t floats_ = 0;
};

// Adds everything to the gradient arena.
void addGradientSums(const GradientSumTables& tables, const float* parts, float* gradient, cudaStream_t stream);

}  // namespace wbsr::cuda

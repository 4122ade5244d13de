// Where the rows of a parameter's slice lie in a packed copy of it (Pack in optimizer.h). For kernels.
#pragma once
#include "cuda/optimizer.h"
#include "cuda/program/layout.h"

namespace wbsr::cuda {

// The row of a pack that holds row o of the slice.
__device__ inline int packedRow(const Pack& pack, int o) {
  if (pack.groups == 1) return o;
  const int wide = (pack.outChannels / pack.groups + kChannelAlign - 1) / kChannelAlign * kChannelAlign;
  return o % pack.groups * wide + o / pack.groups;
}

// The first of the row's columns in the pack.
__device__ inline int firstColumnOf(const Pack& pack, int row) {
  return pack.convGroups == 1 ? 0 : row / (pack.outChannels / pack.convGroups) * pack.inChannels;
}

}  // namespace wbsr::cuda

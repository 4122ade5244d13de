// How values lie in device memory: channels last, channel counts padded to a multiple of 8 (tensor cores, 16-byte
// vectors). T is the device's precision: bf16 or float.
//   wide    (N, H, W, Cp) of T; with `groups` sub-pixel planes each group is padded by itself, Cp = groups x padded(C / groups)
//   thin    (N, H, W, 8) of float: RGB ends keep full precision
//   pooled  (N, Cp) of float
// Padding channels hold finite numbers that no result depends on: weights there are zero.
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

constexpr int kChannelAlign = 8;
inline int padded(int channels) { return (channels + kChannelAlign - 1) / kChannelAlign * kChannelAlign; }

struct Layout {
  enum Kind { Wide, Thin, Pooled } kind = Wide;
  int channels = 0;        // real ones
  int paddedChannels = 0;  // floats or T between pixels
  int height = 0, width = 0;
  int64_t pixels() const { return int64_t{height} * width; }
  int64_t image() const { return pixels() * paddedChannels; }  // elements per image
};

inline Layout layoutOf(const Value& value) {
  Layout layout;
  layout.kind = value.pooled ? Layout::Pooled : value.thin ? Layout::Thin : Layout::Wide;
  layout.channels = value.channels;
  layout.paddedChannels = value.groups * padded(value.channels / value.groups);
  layout.height = value.height;
  layout.width = value.width;
  return layout;
}

// Whether padding must be left out: the result for 0 is not finite, or may become so.
inline bool sparesPadding(ActivationKind kind) {
  return kind == ActivationKind::Exp || kind == ActivationKind::Reciprocal;
}

}  // namespace wbsr::cuda

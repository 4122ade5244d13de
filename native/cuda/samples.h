// Pixels of stored pictures inside kernels, for every sample type and channel count (math::rgbOfPixel).
#pragma once
#include <cstdint>

#include "core/error.h"
#include "core/math/colour.h"
#include "core/pixels.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// One pixel as one load where its size is a power of two. T: uint8_t, uint16_t, float; C: 1 .. 4 channels.
template <typename T, int C>
struct alignas(C == 3 ? sizeof(T) : sizeof(T) * C) Pixel {
  T v[C];
};

struct Rgb {
  float r, g, b;
};

template <typename T, int C>
__device__ inline Rgb rgbOf(const Pixel<T, C>& p) {
  float rgb[3];
  math::rgbOfPixel<T, C>(p.v, rgb);
  return {rgb[0], rgb[1], rgb[2]};
}

// f.template operator()<T, C>() for the picture's pixels.
template <typename T, typename F>
void withChannels(int channels, const F& f) {
  switch (channels) {
    case 1: return f.template operator()<T, 1>();
    case 2: return f.template operator()<T, 2>();
    case 3: return f.template operator()<T, 3>();
    case 4: return f.template operator()<T, 4>();
    default: WBSR_CHECK(channels >= 1 && channels <= 4);
  }
}
template <typename F>
void withPixel(Sample type, int channels, const F& f) {
  switch (type) {
    case Sample::U8: return withChannels<uint8_t>(channels, f);
    case Sample::U16: return withChannels<uint16_t>(channels, f);
    case Sample::F32: return withChannels<float>(channels, f);
  }
}

}  // namespace wbsr::cuda

// Luma, and conversion between stored samples and numbers in [0, 1].
#pragma once
#include <cstdint>

#include "core/math/host_device.h"

namespace wbsr::math {

// Rec. 601 luma of RGB, in the range of its arguments (method.md 2: the router's luma).
WBSR_HD inline float luma(float r, float g, float b) { return 0.299f * r + 0.587f * g + 0.114f * b; }

// The same for 8-bit samples, times kLuma8: whole numbers below 2^18, so that float holds each and all sums of a few.
constexpr float kLuma8 = 255.f * 1000.f;
constexpr float kLuma8Red = 299.f, kLuma8Green = 587.f, kLuma8Blue = 114.f;

// Y of the PSNR protocol without its offset 16, from 0..255 RGB; linear, so it also serves differences.
WBSR_HD inline double studioLuma(double r, double g, double b) { return (65.481 * r + 128.553 * g + 24.966 * b) / 255; }

// [0,1] -> 0 .. top, half up; NaN becomes 0.
WBSR_HD inline uint32_t quantise(float value, float top) {
  const float low = value > 0.f ? value : 0.f;
  const float clamped = low < 1.f ? low : 1.f;
  return static_cast<uint32_t>(static_cast<int32_t>(clamped * top + 0.5f));
}

// Stored samples: uint8_t and uint16_t are whole steps of [0, 1], float is the value itself.
template <typename T>
constexpr float sampleTop = sizeof(T) == 1 ? 255.f
                          : sizeof(T) == 2 ? 65535.f
                                           : 1.f;
// One step. Multiplying by it instead of dividing is at most one rounding off, far below half a step, so that every
// sample comes back from float as it was.
template <typename T>
constexpr float sampleUnit = sizeof(T) == 1 ? 1.f / 255.f
                           : sizeof(T) == 2 ? 1.f / 65535.f
                                            : 1.f;

// [0, 1] -> a stored sample, half up; floats are only clamped; NaN becomes 0.
template <typename T>
WBSR_HD inline T storedSample(float value) {
  if constexpr (sizeof(T) == 4) {
    const float low = value > 0.f ? value : 0.f;
    return low < 1.f ? low : 1.f;
  } else {
    return static_cast<T>(quantise(value, sampleTop<T>));
  }
}

// One stored pixel of C channels (grey, grey + alpha, RGB, RGBA) -> rgb (3) in [0, 1]: grey repeated, colour premultiplied
// where there is alpha.
template <typename T, int C>
WBSR_HD inline void rgbOfPixel(const T* pixel, float* rgb) {
  constexpr float unit = sampleUnit<T>;
  if constexpr (C <= 2) {
    float v = static_cast<float>(pixel[0]) * unit;
    if constexpr (C == 2) v *= static_cast<float>(pixel[1]) * unit;
    rgb[0] = rgb[1] = rgb[2] = v;
  } else {
    for (int c = 0; c < 3; ++c) rgb[c] = static_cast<float>(pixel[c]) * unit;
    if constexpr (C == 4) {
      const float a = static_cast<float>(pixel[3]) * unit;
      for (int c = 0; c < 3; ++c) rgb[c] *= a;
    }
  }
}

// The factor that undoes premultiplication; 0 where alpha is stored as 0, because the colour there is invisible noise.
template <typename T>
WBSR_HD inline float unpremultiply(float alpha) {
  const bool visible = sizeof(T) == 4 ? alpha > 0.f : quantise(alpha, sampleTop<T>) > 0;
  return visible ? 1.f / (alpha < 1.f ? alpha : 1.f) : 0.f;
}

}  // namespace wbsr::math

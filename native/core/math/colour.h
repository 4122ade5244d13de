// Luma and sample conversion: the formulas that turn stored samples into numbers and back.
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

}  // namespace wbsr::math

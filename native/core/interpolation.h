// How a value is resized: half-pixel centres, edges clamped, no antialiasing (torch.nn.functional.interpolate with
// align_corners = false). Both devices take positions and weights from here.
#pragma once
#include <cmath>

#include "core/math/host_device.h"

namespace wbsr {

enum class InterpolationMode { Nearest, Bilinear, Bicubic };

struct Interpolation {
  InterpolationMode mode = InterpolationMode::Bilinear;
  float a = -0.5f;  // of the cubic kernel: -0.5 is MATLAB's, -0.75 PyTorch's

  // Input positions that count for an output coordinate.
  WBSR_HD int taps() const {
    return mode == InterpolationMode::Nearest ? 1 : mode == InterpolationMode::Bilinear ? 2 : 4;
  }
  WBSR_HD float weight(float distance) const {
    if (mode == InterpolationMode::Nearest) return 1.f;
    const float x = distance < 0 ? -distance : distance;
    if (mode == InterpolationMode::Bilinear) return 1.f - x;
    if (x <= 1.f) return ((a + 2.f) * x - (a + 3.f)) * x * x + 1.f;
    if (x < 2.f) return ((a * x - 5.f * a) * x + 8.f * a) * x - 4.f * a;
    return 0.f;
  }
  // The first of the taps of output coordinate `index`, possibly outside the input (positions are clamped); `centre` is
  // where the coordinate lies. num / den: input pixels from one output centre to the next.
  WBSR_HD int first(int index, int num, int den, float* centre) const {
    if (mode == InterpolationMode::Nearest) {
      const int nearest = static_cast<int>(static_cast<long long>(index) * num / den);
      *centre = static_cast<float>(nearest);
      return nearest;
    }
    // A whole factor divides: its reciprocal would differ in the last bit.
    const float place = static_cast<float>(index) + 0.5f;
    *centre = (den % num == 0 ? place / static_cast<float>(den / num)
                              : place * static_cast<float>(num) / static_cast<float>(den)) -
              0.5f;
    return static_cast<int>(floorf(*centre)) - (mode == InterpolationMode::Bicubic ? 1 : 0);
  }
};

}  // namespace wbsr

// The frequency term of the training loss by its definition: every coefficient as a direct sum in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <complex>
#include <string>
#include <vector>

#include "support/check.h"

namespace wbsr::test {

struct FrequencyReference {
  double value = 0;              // weighted mean
  std::vector<double> gradient;  // (batch, 3, height, width)
  double nearest = 1e300;        // to 0 of all parts that are not 0 by symmetry: what a rounding must stay below
};

// prediction, target (batch, 3, height, width).
inline FrequencyReference frequencyReference(const std::vector<float>& prediction, const std::vector<float>& target,
                                             int batch, int height, int width, double weight) {
  const double pi = std::acos(-1.0);
  const int columns = width / 2 + 1;
  const double scale = weight / (2.0 * batch * 3 * height * columns);
  FrequencyReference out;
  out.gradient.assign(prediction.size(), 0.0);
  for (int plane = 0; plane < batch * 3; ++plane) {
    const size_t first = static_cast<size_t>(plane) * height * width;
    for (int u = 0; u < height; ++u)
      for (int v = 0; v < columns; ++v) {
        const auto wave = [&](int y, int x) {
          return std::polar(1.0, -2 * pi * (double(u) * y / height + double(v) * x / width));
        };
        std::complex<double> sum = 0;
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x) {
            const size_t at = first + static_cast<size_t>(y) * width + x;
            sum += (double(prediction[at]) - target[at]) * wave(y, x);
          }
        const bool real = 2 * u % height == 0 && 2 * v % width == 0;
        const double imaginary = real ? 0 : sum.imag();
        out.nearest = std::min(out.nearest, std::fabs(sum.real()));
        if (!real) out.nearest = std::min(out.nearest, std::fabs(imaginary));
        out.value += scale * (std::fabs(sum.real()) + std::fabs(imaginary));
        const auto sign = [](double part) { return double((part > 0) - (part < 0)); };
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x)
            out.gradient[first + static_cast<size_t>(y) * width + x] +=
                scale * (sign(sum.real()) * wave(y, x).real() + sign(imaginary) * wave(y, x).imag());
      }
  }
  return out;
}

struct FrequencyBatch {
  int batch, height, width;
  std::vector<float> prediction, target;

  std::string name() const {
    return std::to_string(batch) + " of " + std::to_string(width) + "x" + std::to_string(height);
  }
};

// No part of a coefficient is so near to 0 that a rounding changes its sign.
inline FrequencyBatch frequencyBatch(int batch, int height, int width) {
  for (uint64_t seed = 1;; ++seed) {
    Random random{seed * 1000003 + static_cast<uint64_t>(height * 256 + width)};
    FrequencyBatch out{batch, height, width, {}, {}};
    for (int i = 0; i < batch * 3 * height * width; ++i) {
      out.target.push_back(static_cast<float>(0.5 + 0.5 * random.next()));
      out.prediction.push_back(static_cast<float>(out.target.back() + 0.3 * random.next()));
    }
    if (frequencyReference(out.prediction, out.target, batch, height, width, 1).nearest > 2e-5) return out;
  }
}

}  // namespace wbsr::test

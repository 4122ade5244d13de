// Enlargement, its transpose and crops on the device against sums in double precision over every tap.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/operators/kernels.h"
#include "support/cuda_check.h"
#include "support/reference.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

struct Size {
  int batch, height, width, channels;
};

template <typename T>
std::vector<float> noise(size_t count, uint64_t seed) {
  return stored<T>(randomVector(count, seed));
}

// What output o of a row of `size` inputs takes from input i.
double weightOf(int o, int i, int size, int factor, bool isCubic) {
  const double centre = (o + 0.5) / factor - 0.5;
  double sum = 0;
  for (int t = -3; t <= 3; ++t) {
    const int position = static_cast<int>(std::floor(centre)) + t;
    const double weight = isCubic ? cubic(centre - position, -0.5) : std::max(0.0, 1 - std::fabs(centre - position));
    if (std::clamp(position, 0, size - 1) == i) sum += weight;
  }
  return sum;
}

// in (N, H, W, C) -> (N, H f, W f, C); transposed: the way back.
std::vector<double> resized(const std::vector<float>& from, const Size& s, int factor, bool isCubic, bool transposed) {
  const int H = s.height * factor, W = s.width * factor;
  const size_t small = static_cast<size_t>(s.batch) * s.height * s.width * s.channels;
  std::vector<double> result(transposed ? small : small * factor * factor, 0.0);
  for (int n = 0; n < s.batch; ++n)
    for (int Y = 0; Y < H; ++Y)
      for (int X = 0; X < W; ++X)
        for (int y = std::max(0, Y / factor - 3); y < std::min(s.height, Y / factor + 4); ++y) {
          const double rowWeight = weightOf(Y, y, s.height, factor, isCubic);
          if (rowWeight == 0) continue;
          for (int x = std::max(0, X / factor - 3); x < std::min(s.width, X / factor + 4); ++x) {
            const double weight = rowWeight * weightOf(X, x, s.width, factor, isCubic);
            const size_t smallAt = ((static_cast<size_t>(n) * s.height + y) * s.width + x) * s.channels;
            const size_t largeAt = ((static_cast<size_t>(n) * H + Y) * W + X) * s.channels;
            for (int c = 0; c < s.channels; ++c) {
              if (transposed)
                result[smallAt + c] += weight * from[largeAt + c];
              else
                result[largeAt + c] += weight * from[smallAt + c];
            }
          }
        }
  return result;
}

template <typename T>
void upsampleOf(const Size& s, int factor, bool isCubic, const char* type) {
  const std::string name = std::string(isCubic ? "bicubic " : "bilinear ") + type + " " + std::to_string(s.batch) +
                           "x" + std::to_string(s.height) + "x" + std::to_string(s.width) + "x" +
                           std::to_string(s.channels) + " by " + std::to_string(factor);
  const size_t small = static_cast<size_t>(s.batch) * s.height * s.width * s.channels, large = small * factor * factor;
  const std::vector<float> in = noise<T>(small, 1), addend = noise<T>(large, 2);
  const DeviceArray<T> deviceIn(to<T>(in)), deviceAddend(to<T>(addend));
  DeviceArray<T> out(large), sum(large), onto(to<T>(addend)), back(small);
  upsample<T>(deviceIn.data(), nullptr, out.data(), s.batch, s.height, s.width, s.channels, factor, isCubic, nullptr);
  upsample<T>(deviceIn.data(), deviceAddend.data(), sum.data(), s.batch, s.height, s.width, s.channels, factor, isCubic,
              nullptr);
  upsample<T>(deviceIn.data(), onto.data(), onto.data(), s.batch, s.height, s.width, s.channels, factor, isCubic,
              nullptr);
  std::vector<double> expected = resized(in, s, factor, isCubic, false);
  const double absolute = sizeof(T) == 2 ? 1e-5 : 2e-6, relative = sizeof(T) == 2 ? 1.0 / 256 : 1e-6;
  closeTo(toFloat(out.download()), expected, absolute, relative, name);
  for (size_t i = 0; i < large; ++i) expected[i] += addend[i];
  closeTo(toFloat(sum.download()), expected, absolute, relative, name + " plus addend");
  sameBits(onto.download(), sum.download(), name + " onto its addend");

  // `addend` again, as the gradient. A small value's gradient sums factor^2 times as many terms.
  upsampleBackward<T>(deviceAddend.data(), back.data(), s.batch, s.height, s.width, s.channels, factor, isCubic,
                      nullptr);
  closeTo(toFloat(back.download()), resized(addend, s, factor, isCubic, true), absolute * factor * factor, relative,
          name + " backward");
  DeviceArray<T> again(small);
  upsampleBackward<T>(deviceAddend.data(), again.data(), s.batch, s.height, s.width, s.channels, factor, isCubic,
                      nullptr);
  sameBits(again.download(), back.download(), name + " backward again");
}

template <typename T>
void cropOf(const Size& s, int outHeight, int outWidth, const std::vector<int2>& offsets, const char* type) {
  const std::vector<float> in = noise<T>(static_cast<size_t>(s.batch) * s.height * s.width * s.channels, 3);
  const DeviceArray<T> deviceIn(to<T>(in));
  const DeviceArray<int2> deviceOffsets(offsets);
  DeviceArray<T> out(static_cast<size_t>(s.batch) * outHeight * outWidth * s.channels);
  crop<T>(deviceIn.data(), out.data(), s.batch, s.height, s.width, outHeight, outWidth, s.channels,
          deviceOffsets.data(), nullptr);
  std::vector<float> expected;
  for (int n = 0; n < s.batch; ++n)
    for (int y = 0; y < outHeight; ++y)
      for (int x = 0; x < outWidth; ++x)
        for (int c = 0; c < s.channels; ++c)
          expected.push_back(
              in[((static_cast<size_t>(n) * s.height + offsets[n].y + y) * s.width + offsets[n].x + x) * s.channels +
                 c]);
  const std::string name =
      std::string("crop ") + type + " to " + std::to_string(outWidth) + "x" + std::to_string(outHeight);
  sameBits(toFloat(out.download()), expected, name);
}

template <typename T>
void all(const char* type) {
  for (const bool isCubic : {false, true}) {
    for (const int factor : {1, 2, 3, 4, 8}) {
      upsampleOf<T>({1, 1, 1, 8}, factor, isCubic, type);
      upsampleOf<T>({2, 3, 5, 8}, factor, isCubic, type);
      upsampleOf<T>({1, 2, 2, 40}, factor, isCubic, type);
    }
    upsampleOf<T>({1, 5, 67, 8}, 2, isCubic, type);   // several blocks in a row
    upsampleOf<T>({1, 2, 25, 24}, 2, isCubic, type);  // 21 pixels a block: an odd number of weights before vectors
    upsampleOf<T>({1, 2, 17, 72}, 3, isCubic, type);  // several groups of channels, not full
    upsampleOf<T>({0, 3, 5, 8}, 2, isCubic, type);
  }
  cropOf<T>({3, 5, 7, 8}, 2, 3, {{0, 0}, {4, 3}, {2, 1}}, type);
  cropOf<T>({1, 4, 37, 72}, 3, 31, {{6, 1}}, type);
  cropOf<T>({2, 1, 1, 8}, 1, 1, {{0, 0}, {0, 0}}, type);
  cropOf<T>({0, 4, 4, 8}, 2, 2, {}, type);
}

}  // namespace

int main() {
  all<float>("float");
  all<bf16>("bf16");
  return finish();
}

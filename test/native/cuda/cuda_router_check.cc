// The fused router against image::gradientVectors and math::classOf: every sample type and channel count, tiles from one
// pixel to more than the picture, pictures that begin at any byte.
#include <algorithm>
#include <numeric>

#include "core/math/gradient.h"
#include "core/math/route.h"
#include "image/image.h"
#include "cuda/router.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

// Samples in memory as the picture's type has them: a slope, and noise whose strength grows across the picture; flat at
// the left edge. `shift` bytes come before the first pixel.
std::vector<uint8_t> makePicture(Sample type, int width, int height, int channels, size_t shift, uint64_t seed) {
  const size_t count = static_cast<size_t>(width) * static_cast<size_t>(height) * static_cast<size_t>(channels),
               bytes = sampleBytes(type);
  std::vector<uint8_t> memory(shift + count * bytes);
  const std::vector<float> noise = randomVector(count, seed);
  for (size_t i = 0; i < count; ++i) {
    const size_t pixel = i / static_cast<size_t>(channels), x = pixel % static_cast<size_t>(width),
                 y = pixel / static_cast<size_t>(width);
    const float place = static_cast<float>(x) / static_cast<float>(width);
    float v = 0.5f + (place < 0.1f ? 0.f : 0.3f * place * noise[i] + 0.1f * std::sin(0.3f * static_cast<float>(y)));
    if (channels % 2 == 0 && i % static_cast<size_t>(channels) == static_cast<size_t>(channels) - 1 && pixel % 5 == 0)
      v = 0;  // alpha
    uint8_t* to = memory.data() + shift + i * bytes;
    const auto store = [&](auto sample) { std::memcpy(to, &sample, sizeof sample); };
    if (type == Sample::U8) store(static_cast<uint8_t>(v * 255));
    if (type == Sample::U16) store(static_cast<uint16_t>(v * 65535));
    if (type == Sample::F32) store(v);
  }
  return memory;
}

std::string describe(Sample type, int width, int height, int channels, int tile, size_t shift) {
  return std::to_string(width) + " x " + std::to_string(height) + " x " + std::to_string(channels) + " of " +
         std::to_string(sampleBytes(type)) + " bytes at +" + std::to_string(shift) + ", tiles of " +
         std::to_string(tile);
}

void compare(Sample type, int width, int height, int channels, int tile, size_t shift = 0, int classes = 10) {
  const std::string what = describe(type, width, height, channels, tile, shift);
  const std::vector<uint8_t> memory =
      makePicture(type, width, height, channels, shift, static_cast<uint64_t>(width * 7 + height * 3 + tile));
  std::vector<uint8_t> aligned(memory.begin() + static_cast<std::ptrdiff_t>(shift), memory.end());
  const int columns = (width + tile - 1) / tile, rows = (height + tile - 1) / tile, count = columns * rows;
  const size_t tiles = static_cast<size_t>(count);

  // The CPU's answer.
  std::vector<int32_t> rects;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      for (const int v : {c * tile, r * tile, std::min(tile, width - c * tile), std::min(tile, height - r * tile)})
        rects.push_back(v);
  std::vector<double> vectors(4 * tiles), expected(tiles);
  image::gradientVectors({aligned.data(), type, width, height, channels}, rects.data(), count, vectors.data());
  for (size_t i = 0; i < tiles; ++i) expected[i] = math::difficulty(&vectors[4 * i]);
  // Thresholds between tiles where there are enough of them.
  std::vector<double> sorted = expected, thresholds;
  std::sort(sorted.begin(), sorted.end());
  for (int k = 1; k < classes; ++k) {
    const size_t at = std::min(tiles - 1, static_cast<size_t>(k) * tiles / static_cast<size_t>(classes));
    thresholds.push_back(at + 1 < tiles ? (sorted[at] + sorted[at + 1]) / 2 : sorted[at] + 0.001 * k);
  }
  const DeviceArray<uint8_t> picture(memory, "picture");
  const DeviceArray<double> limits(thresholds, "thresholds");
  DeviceArray<double> difficulties(tiles, "difficulties");
  DeviceArray<int32_t> classOf(tiles, "classes");
  const cuda::RouterArguments arguments{{picture.data() + shift, type, width, height, channels},
                                        tile,
                                        columns,
                                        rows,
                                        limits.data(),
                                        classes,
                                        difficulties.data(),
                                        classOf.data()};
  cuda::route(arguments, nullptr);

  const std::vector<double> found = difficulties.download();
  const std::vector<int32_t> foundClasses = classOf.download();
  constexpr double roundings = 1e-7;  // of brightness up to 1 in float, two of them
  closeTo(found, expected, roundings, 1e-5, what + ": difficulties");
  int wrongClasses = 0;
  for (size_t i = 0; i < tiles; ++i) {
    const int own = math::classOf(thresholds.data(), classes - 1, found[i]);
    wrongClasses += foundClasses[i] != own;
    if (foundClasses[i] != math::classOf(thresholds.data(), classes - 1, expected[i])) {
      bool near = false;
      for (const double t : thresholds) near = near || std::fabs(expected[i] - t) <= 1e-6 * t + roundings;
      wrongClasses += !near;
    }
  }
  check(wrongClasses == 0, what + ": " + std::to_string(wrongClasses) + " classes are not the CPU's");

  difficulties.spoil(), classOf.spoil();
  cuda::route(arguments, nullptr);
  sameBits(difficulties.download(), found, what + ": difficulties of a second run");
  sameBits(classOf.download(), foundClasses, what + ": classes of a second run");
}

// A launch without blocks would be an error.
void checkNoTile() {
  cuda::RouterArguments arguments{};
  arguments.picture = {nullptr, Sample::U8, 0, 0, 3};
  arguments.tile = 8, arguments.classes = 3;
  cuda::route(arguments, nullptr);
  check(cudaDeviceSynchronize() == cudaSuccess, "no tile");
}

}  // namespace

int main() {
  for (const Sample type : {Sample::U8, Sample::U16, Sample::F32})
    for (int channels = 1; channels <= 4; ++channels) {
      compare(type, 53, 37, channels, 16);
      compare(type, 1, 1, channels, 8);
      compare(type, 19, 11, channels, 64);  // one tile that is larger than the picture
    }
  // 8-bit RGB has paths of its own: rows at multiples of 4 bytes or not, runs cut short, pictures at any address.
  for (const int tile : {1, 2, 3, 4, 7, 12, 16, 33}) compare(Sample::U8, 36, 23, 3, tile);
  for (const size_t shift : {1, 2, 3, 4}) {
    compare(Sample::U8, 48, 20, 3, 16, shift);
    compare(Sample::U8, 47, 20, 3, 16, shift);
  }
  compare(Sample::U8, 140, 70, 3, 64);
  compare(Sample::U8, 141, 35, 3, 64, 1);
  // Wider than a warp reaches, higher than a strip, with more units than threads.
  compare(Sample::U8, 300, 150, 3, 290);
  compare(Sample::U16, 263, 19, 4, 263);
  compare(Sample::U8, 8, 1, 3, 1);
  for (const int classes : {1, 2, 40}) compare(Sample::U8, 64, 33, 3, 4, 0, classes);
  compare(Sample::U8, 150, 75, 1, 1);
  checkNoTile();
  return finish();
}

// Tiles in and out: gathering against image::toRgbFloat, blending and finishing against the CPU's arithmetic in double,
// the same bits in any order of tiles and any split into launches.
#include <algorithm>
#include <cstdio>

#include "core/math/ramp.h"
#include "image/image.h"
#include "cuda/tiles.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::test;
using cuda::TileJob;

namespace {

template <typename S>
std::vector<S> samples(size_t count, uint64_t seed) {
  std::vector<S> out;
  const double top = sizeof(S) == 1 ? 255.99 : sizeof(S) == 2 ? 65535.99 : 1;
  for (const float v : randomVector(count, seed, 0, top)) out.push_back(static_cast<S>(v));
  return out;
}

template <typename T, typename S>
void gathers(Sample type, int channels) {
  const int width = 23, height = 17, w = 9, h = 7;
  const std::vector<S> pixels = samples<S>(static_cast<size_t>(width) * height * static_cast<size_t>(channels), 3);
  std::vector<float> rgb(static_cast<size_t>(width) * height * 3);
  image::toRgbFloat({pixels.data(), type, width, height, channels}, rgb.data());
  std::vector<TileJob> tiles(3, TileJob{});
  tiles[1].x = width - w;
  tiles[1].y = height - h;
  tiles[2].x = 5;
  tiles[2].y = 3;
  std::vector<float> expected;
  for (const TileJob& tile : tiles)
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x)
        for (int c = 0; c < 8; ++c)
          expected.push_back(
              c < 3 ? rgb[static_cast<size_t>((tile.y + y) * width + tile.x + x) * 3 + static_cast<size_t>(c)] : 0.f);
  const DeviceArray<S> picture(pixels, "picture");
  const DeviceArray<TileJob> jobs(tiles, "tiles");
  DeviceArray<float> thin(expected.size(), "thin");
  DeviceArray<T> copy(expected.size(), "copy");
  const std::string what =
      "gather of " + std::to_string(channels) + " channels of " + std::to_string(sizeof(S)) + " bytes";
  cuda::gatherTiles<T>({picture, type, width, height, channels}, jobs, 3, h, w, thin, copy, nullptr);
  closeTo(thin.download(), expected, 1e-7, 0, what);
  closeTo(toFloat(copy.download()), stored<T>(thin.download()), 0, 0, what + ", copy");
  thin.spoil();
  cuda::gatherTiles<T>({picture, type, width, height, channels}, jobs, 3, h, w, thin, static_cast<T*>(nullptr),
                       nullptr);
  closeTo(thin.download(), expected, 1e-7, 0, what + " without a copy");
}

// Four kept parts that meet with ramps, on a canvas of 30 x 26.
struct Blended {
  std::vector<int32_t> sums, weights;
};
constexpr int kWidth = 30, kHeight = 26, kOutWidth = 20, kOutHeight = 18;
std::vector<TileJob> fourTiles() {
  std::vector<TileJob> tiles;
  for (int j = 0; j < 2; ++j)
    for (int i = 0; i < 2; ++i) {
      TileJob t{};
      t.outX = 1 + i;
      t.outY = j;
      t.width = i == 0 ? 18 : 16;
      t.height = j == 0 ? 15 : 15;
      t.toX = i == 0 ? 0 : 14;
      t.toY = j == 0 ? 0 : 11;
      t.rampLeft = i == 0 ? 0 : 4;
      t.rampRight = i == 0 ? 4 : 0;
      t.rampTop = j == 0 ? 0 : 4;
      t.rampBottom = j == 0 ? 4 : 0;
      tiles.push_back(t);
    }
  return tiles;
}

Blended blended(const std::vector<float>& output, const std::vector<int>& order, int split) {
  const std::vector<TileJob> all = fourTiles();
  std::vector<TileJob> tiles;
  std::vector<float> values;
  const size_t image = static_cast<size_t>(kOutWidth) * kOutHeight * 8;
  for (const int n : order) {
    tiles.push_back(all[static_cast<size_t>(n)]);
    values.insert(values.end(), output.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(n) * image),
                  output.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(n + 1) * image));
  }
  const DeviceArray<float> out(values, "output");
  const DeviceArray<TileJob> jobs(tiles, "tiles");
  DeviceArray<int32_t> sums(static_cast<size_t>(kWidth) * kHeight * 3, "sums"),
      weights(static_cast<size_t>(kWidth) * kHeight, "weights");
  sums.zero();
  weights.zero();
  for (int first = 0; first < 4; first += split)
    cuda::blendTiles(out + static_cast<size_t>(first) * image, kOutHeight, kOutWidth, jobs + first,
                     std::min(split, 4 - first), 18, 15, sums, weights, kWidth, nullptr);
  cuda::blendTiles(nullptr, kOutHeight, kOutWidth, nullptr, 0, 18, 15, sums, weights, kWidth, nullptr);
  return {sums.download(), weights.download()};
}

void blends() {
  const std::vector<float> output = randomVector(static_cast<size_t>(kOutWidth) * kOutHeight * 8 * 4, 5, -0.2, 1.2);
  std::vector<double> sum(static_cast<size_t>(kWidth) * kHeight * 3, 0.0),
      weight(static_cast<size_t>(kWidth) * kHeight, 0.0);
  const std::vector<TileJob> tiles = fourTiles();
  for (size_t n = 0; n < 4; ++n) {
    const TileJob& t = tiles[n];
    for (int y = 0; y < t.height; ++y)
      for (int x = 0; x < t.width; ++x) {
        const double w = static_cast<double>(math::rampWeight(x, t.width, t.rampLeft, t.rampRight)) *
                         math::rampWeight(y, t.height, t.rampTop, t.rampBottom);
        const size_t to = static_cast<size_t>((t.toY + y) * kWidth + t.toX + x);
        const size_t from =
            ((n * kOutHeight + static_cast<size_t>(t.outY + y)) * kOutWidth + static_cast<size_t>(t.outX + x)) * 8;
        for (size_t c = 0; c < 3; ++c) sum[to * 3 + c] += w * output[from + c];
        weight[to] += w;
      }
  }
  const Blended one = blended(output, {0, 1, 2, 3}, 4);
  DeviceArray<int32_t> sums(one.sums), weights(one.weights);
  DeviceArray<float> floatSums(one.sums.size()), floatWeights(one.weights.size());
  cuda::sumsToFloat(sums, weights, floatSums, floatWeights, kWidth * kHeight, nullptr);
  closeTo(floatSums.download(), sum, 3e-6, 0, "blended sums");
  closeTo(floatWeights.download(), weight, 3e-6, 0, "blended weights");
  for (const std::vector<int>& order : {std::vector<int>{3, 1, 0, 2}, std::vector<int>{2, 3, 0, 1}})
    for (int split : {1, 3, 4})
      check(blended(output, order, split).sums == one.sums, "the same bits in any order and split");

  std::vector<float> wild(output.size(), 1e30f);
  for (size_t i = 0; i < wild.size(); ++i) wild[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -INFINITY : 1e30f;
  for (const int32_t v : blended(wild, {0, 1, 2, 3}, 4).sums)
    check(v >= -(1 << 30) * 2LL && v <= (1 << 30) * 2LL - 1, "wild values are limited");
}

template <typename S>
void finishes(Sample type, int channels, size_t count) {
  const std::vector<float> colour = randomVector(count * 3, 7, -0.1, 1.1);
  std::vector<float> alpha = randomVector(count, 8, -0.1, 1.1);
  for (float& a : alpha) a = a < 0 ? 0 : a > 1 ? 1 : a;
  std::vector<int32_t> sums(count * 3), weights(count);
  std::vector<float> floatSums(count * 3), floatWeights(count);
  for (size_t i = 0; i < count; ++i) {
    weights[i] = i % 4 == 0 ? 1 << 20 : i % 4 == 1 ? 3 << 18 : i % 4 == 2 ? (1 << 20) + 1 : i % 8 == 3 ? 0 : 1 << 20;
    floatWeights[i] = static_cast<float>(weights[i]) * cuda::kSumUnit;
    for (size_t c = 0; c < 3; ++c) {
      sums[i * 3 + c] = weights[i] == 0 ? 0 : static_cast<int32_t>(colour[i * 3 + c] * static_cast<float>(weights[i]));
      floatSums[i * 3 + c] = static_cast<float>(sums[i * 3 + c]) * cuda::kSumUnit;
    }
  }
  const bool hasAlpha = channels == 2 || channels == 4;
  std::vector<S> expected(count * static_cast<size_t>(channels));
  image::finishRows(floatSums.data(), floatWeights.data(), static_cast<int>(count), 0, 1, channels,
                    hasAlpha ? alpha.data() : nullptr, type, expected.data());
  const DeviceArray<int32_t> sumsOn(sums, "sums"), weightsOn(weights, "weights");
  const DeviceArray<float> alphaOn(alpha, "alpha");
  DeviceArray<S> pixels(expected.size(), "pixels");
  cuda::finishRows(sumsOn, weightsOn, hasAlpha ? alphaOn.data() : nullptr, static_cast<int64_t>(count), channels, type,
                   pixels, nullptr);
  // One step of the stored type where rounding falls the other way.
  closeTo(pixels.download(), expected, sizeof(S) == 4 ? 1e-6 : 1, sizeof(S) == 4 ? 1e-6 : 0,
          "finished rows, " + std::to_string(channels) + " channels of " + std::to_string(sizeof(S)) + " bytes");
}

}  // namespace

int main() {
  for (int channels = 1; channels <= 4; ++channels) {
    gathers<__nv_bfloat16, uint8_t>(Sample::U8, channels);
    gathers<float, uint16_t>(Sample::U16, channels);
    gathers<__nv_bfloat16, float>(Sample::F32, channels);
    for (size_t count : {size_t{1}, size_t{37}, size_t{1024}, size_t{0}}) {
      finishes<uint8_t>(Sample::U8, channels, count);
      finishes<uint16_t>(Sample::U16, channels, count);
      finishes<float>(Sample::F32, channels, count);
    }
  }
  blends();
  return finish();
}

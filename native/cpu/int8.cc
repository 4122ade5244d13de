#include "cpu/int8.h"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "cpu/team.h"

namespace wbsr::cpu {
namespace {

ChannelRanges noRanges(const Layout& layout) {
  const size_t channels = static_cast<size_t>(layout.planes) * layout.lanes;
  return {std::vector<float>(channels, 0.f), std::vector<float>(channels, 0.f)};
}

ChannelRanges rangesOf(const simd::Int8& kernel, const Layout& from, const float* in) {
  ChannelRanges r = noRanges(from);
  const int64_t pixels = int64_t{from.h} * from.w;
#pragma omp parallel for schedule(static)
  for (int p = 0; p < from.planes; ++p)
    kernel.range(in + p * pixels * from.lanes, pixels, r.low.data() + p * from.lanes, r.high.data() + p * from.lanes);
  return r;
}

// Factors, inverses and zero from the ranges; returns the activations' scale.
float findScales(const ChannelRanges& r, const Int8Weights& weights, Int8Scales& s) {
  const size_t channels = r.low.size();
  s.factors.assign(channels, 0.f);
  s.inverses.assign(channels, 0.f);
  float low = 0.f, high = 0.f;
  for (size_t c = 0; c < channels; ++c) {
    const float most = std::max(-r.low[c], r.high[c]);
    if (most == 0.f || weights.largest[c] == 0.f) continue;
    const float f = s.factors[c] = std::sqrt(most / weights.largest[c]);
    low = std::min(low, r.low[c] / f);
    high = std::max(high, r.high[c] / f);
  }
  const float range = high - low;
  s.zero = 0;
  if (range == 0.f) return 1.f;
  if (!std::isfinite(range)) return NAN;  // the results are not numbers either, as in float
  const float scale = range / 255.f;
  s.zero = static_cast<int32_t>(std::lround(-low / scale));
  for (size_t c = 0; c < channels; ++c)
    if (s.factors[c] != 0.f) s.inverses[c] = 1.f / (scale * s.factors[c]);
  return scale;
}

void quantiseWeights(const simd::Int8& kernel, const Int8Weights& weights, int blocksOut, float scale, Int8Scales& s) {
  const int L = kernel.lanes;
  const simd::Int8Pieces pieces = simd::int8Pieces(weights.columns);
  const size_t row = static_cast<size_t>(pieces.count) * pieces.bytes, block = 3 * row * L;
  s.ofColumns.assign(row, 0.f);
  for (int i = 0; i < 3 * weights.columns; ++i)
    s.ofColumns[static_cast<size_t>(i)] = s.factors[static_cast<size_t>(i % weights.columns)];
  s.weights.resize(block * blocksOut);
  s.scales.resize(static_cast<size_t>(blocksOut) * L);
  s.offsets.resize(s.scales.size());
#pragma omp parallel for schedule(static)
  for (int b = 0; b < blocksOut; ++b) {
    float* scales = s.scales.data() + b * L;
    int32_t* offsets = s.offsets.data() + b * L;
    kernel.quantise(
        {weights.dense.data() + b * block, s.ofColumns.data(), pieces, s.weights.data() + b * block, scales, offsets});
    for (int o = 0; o < L; ++o) {
      scales[o] *= scale;
      offsets[o] *= s.zero;
    }
  }
}

}  // namespace

Int8Weights packInt8(const std::vector<float>& dense, int rows, int columns, int lanes) {
  const simd::Int8Pieces pieces = simd::int8Pieces(columns);
  const size_t piece = static_cast<size_t>(pieces.bytes) * lanes, block = 3 * pieces.count * piece;
  Int8Weights packed;
  packed.columns = columns;
  packed.dense.assign(rows / lanes * block, 0.f);
  packed.largest.assign(static_cast<size_t>(columns), 0.f);
  for (int row = 0; row < rows; ++row)
    for (int c = 0; c < columns; ++c)
      for (int t = 0; t < 9; ++t) {
        const float value = dense[(static_cast<size_t>(row) * columns + c) * 9 + t];
        const int byte = t % 3 * columns + c, within = byte % pieces.bytes;
        packed.dense[static_cast<size_t>(row / lanes) * block +
                     (static_cast<size_t>(t / 3) * pieces.count + byte / pieces.bytes) * piece +
                     (static_cast<size_t>(within / 4) * lanes + row % lanes) * 4 + within % 4] = value;
        float& largest = packed.largest[static_cast<size_t>(c)];
        largest = std::max(largest, std::fabs(value));
      }
  return packed;
}

std::vector<ChannelRanges> runInt8(const simd::Int8& kernel, const Int8Images& images, Int8Scales& scales,
                                   Buffer& scratch) {
  const Layout &from = images.from, &to = images.to;
  WBSR_CHECK(from.kind == Layout::Blocked && to.kind == Layout::Blocked && from.h == to.h && from.w == to.w);
  // As many rows as leave room for weights in the second-level cache.
  constexpr int64_t kBandBytes = 128 << 10;
  const int64_t rowBytes = (int64_t{to.w} + 2) * from.planes * from.lanes;
  const int rows = static_cast<int>(std::clamp<int64_t>(kBandBytes / rowBytes - 2, 4, 32));
  const int64_t floats = (kernel.scratch(from.planes, rows, to.w) + 63) / 64 * 16;
  float* memory = scratch.reserve(floats * teamSize());
  const int bands = (to.h + rows - 1) / rows;
  std::vector<ChannelRanges> stored;
  for (int n = 0; n < images.batch; ++n) {
    const float* in = images.in + n * from.image();
    const ChannelRanges found = images.ranges ? ChannelRanges{} : rangesOf(kernel, from, in);
    const ChannelRanges& ranges = images.ranges ? (*images.ranges)[static_cast<size_t>(n)] : found;
    quantiseWeights(kernel, images.weights, to.planes, findScales(ranges, images.weights, scales), scales);
    simd::Finish finish = images.finish;
    if (finish.residual) finish.residual += n * to.image();
    const simd::Int8Conv conv{in,
                              scales.inverses.data(),
                              scales.zero,
                              scales.weights.data(),
                              scales.offsets.data(),
                              scales.scales.data(),
                              finish,
                              images.out + n * to.image(),
                              from.planes,
                              to.planes,
                              to.h,
                              to.w};
    std::vector<ChannelRanges> ofThreads(static_cast<size_t>(teamSize()), noRanges(to));
#pragma omp parallel for schedule(dynamic)
    for (int band = 0; band < bands; ++band) {
      const int thread = omp_get_thread_num();
      ChannelRanges& r = ofThreads[static_cast<size_t>(thread)];
      kernel.run(conv, band * rows, std::min(rows, to.h - band * rows),
                 reinterpret_cast<uint8_t*>(memory + thread * floats), r.low.data(), r.high.data());
    }
    for (size_t t = 1; t < ofThreads.size(); ++t)
      for (size_t c = 0; c < ofThreads[t].low.size(); ++c) {
        ofThreads[0].low[c] = std::min(ofThreads[0].low[c], ofThreads[t].low[c]);
        ofThreads[0].high[c] = std::max(ofThreads[0].high[c], ofThreads[t].high[c]);
      }
    stored.push_back(std::move(ofThreads[0]));
  }
  return stored;
}

}  // namespace wbsr::cpu

// Loops over the planes of a value of any layout. An operator processes the pixels of `lanes` channels at a time.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/tensor.h"

namespace wbsr::cpu {

constexpr int kMostLanes = 16;

// One image of (h, w, lanes) inside a batch.
struct Plane {
  int image;       // of the batch
  int channel;     // the first one
  int channels;    // real ones among the lanes
  int64_t offset;  // of its first pixel, in floats
};

inline Plane planeAt(const Layout& layout, int channels, int64_t index) {
  const int64_t size = int64_t{layout.h} * layout.w * layout.lanes;
  const int channel = static_cast<int>(index % layout.planes) * layout.lanes;
  return {static_cast<int>(index / layout.planes), channel, std::min(layout.lanes, channels - channel), index * size};
}

// fn(plane) on all threads; for values whose channels are not ordered sub-pixel first (Value::groups).
template <class Fn>
void eachPlane(const Layout& layout, int channels, int batch, Fn fn) {
  const int64_t count = int64_t{batch} * layout.planes;
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t index = 0; index < count; ++index) fn(planeAt(layout, channels, index));
}

// fn(plane, y) for every row.
template <class Fn>
void eachRow(const Layout& layout, int channels, int batch, Fn fn) {
  const int64_t count = int64_t{batch} * layout.planes * layout.h;
#pragma omp parallel for schedule(static) if (count > 1)
  for (int64_t index = 0; index < count; ++index)
    fn(planeAt(layout, channels, index / layout.h), static_cast<int>(index % layout.h));
}

// fn(integral_constant) with the lanes as a constant, so that loops over them are unrolled.
template <class Fn>
void withLanes(int lanes, Fn fn) {
  if (lanes == 16) return fn(std::integral_constant<int, 16>{});
  if (lanes == 8) return fn(std::integral_constant<int, 8>{});
  fn(std::integral_constant<int, 1>{});
}

// Per channel the sum over the batch of what fn(plane, sums) adds to sums (lanes). One partial sum per image, added in
// order, so that the result does not depend on the number of threads.
template <class Fn>
std::vector<double> channelSums(const Layout& layout, int channels, int batch, Fn fn) {
  const size_t perImage = static_cast<size_t>(layout.planes) * layout.lanes;
  std::vector<double> parts(perImage * batch, 0.0);
  eachPlane(layout, channels, batch, [&](const Plane& p) { fn(p, parts.data() + p.image * perImage + p.channel); });
  std::vector<double> sums(static_cast<size_t>(channels), 0.0);
  for (int n = 0; n < batch; ++n)
    for (int c = 0; c < channels; ++c) sums[static_cast<size_t>(c)] += parts[n * perImage + c];
  return sums;
}

// Where channel c of pixel (y, x) lies inside one image; for thin, pooled and blocked values alike.
inline int64_t placeOf(const Layout& l, int c, int y, int x) {
  return ((int64_t{c / l.lanes} * l.h + y) * l.w + x) * l.lanes + c % l.lanes;
}

// out[toChannel + c] = in[fromChannel + c] for c < count, between values of one size.
inline void copyChannels(const Layout& from, const float* in, int fromChannel, const Layout& to, float* out,
                         int toChannel, int count, int batch) {
  const int64_t rows = int64_t{batch} * count * from.h;
#pragma omp parallel for schedule(static) if (rows > 1)
  for (int64_t row = 0; row < rows; ++row) {
    const int y = static_cast<int>(row % from.h), c = static_cast<int>(row / from.h % count);
    const int64_t n = row / from.h / count;
    const float* source = in + n * from.image() + placeOf(from, fromChannel + c, y, 0);
    float* target = out + n * to.image() + placeOf(to, toChannel + c, y, 0);
    for (int x = 0; x < from.w; ++x) target[int64_t{x} * to.lanes] = source[int64_t{x} * from.lanes];
  }
}

// Sets the lanes that hold no channel to 0.
inline void clearPadding(const Layout& layout, const Value& value, int batch, float* data) {
  const int used = value.channels / value.groups % layout.lanes;
  if (used == 0) return;
  const int64_t pixels = int64_t{layout.h} * layout.w;
  for (int64_t group = 0; group < int64_t{batch} * value.groups; ++group) {
    float* last = data + (group * layout.blocks + layout.blocks - 1) * pixels * layout.lanes;
    for (int64_t p = 0; p < pixels; ++p) std::fill(last + p * layout.lanes + used, last + (p + 1) * layout.lanes, 0.f);
  }
}

}  // namespace wbsr::cpu

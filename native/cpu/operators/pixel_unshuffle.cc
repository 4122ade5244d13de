#include "core/operators/pixel_unshuffle.h"

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::PixelUnshuffle;

// fn(place in large, place in small) for every number of both, on all threads.
template <class Fn>
void eachPair(const Layout& large, const Layout& small, int batch, int channels, int r, Fn fn) {
  const int64_t rows = int64_t{batch} * channels * large.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int y = static_cast<int>(row % large.h), c = static_cast<int>(row / large.h % channels);
    const int64_t n = row / large.h / channels;
    const int64_t from = n * large.image() + placeOf(large, c, y, 0);
    for (int j = 0; j < r; ++j) {
      const int64_t to = n * small.image() + placeOf(small, (c * r + y % r) * r + j, y / r, 0);
      for (int x = 0; x < small.w; ++x) fn(from + (int64_t{x} * r + j) * large.lanes, to + int64_t{x} * small.lanes);
    }
  }
}

void forward(const StepView& s) {
  const float* in = s.in(0);
  float* out = s.out();
  eachPair(s.inLayout(0), s.outLayout(), s.batch(), s.inValue(0).channels, s.op<PixelUnshuffle>().factor(),
           [=](int64_t large, int64_t small) { out[small] = in[large]; });
  clearPadding(s.outLayout(), s.outValue(), s.batch(), out);
}

void backward(const StepView& s) {
  const float* gradOut = s.in(0);
  float* gradIn = s.out();
  eachPair(s.outLayout(), s.inLayout(0), s.batch(), s.outValue().channels, s.op<PixelUnshuffle>().factor(),
           [=](int64_t large, int64_t small) { gradIn[large] = gradOut[small]; });
  clearPadding(s.outLayout(), s.outValue(), s.batch(), gradIn);
}

}  // namespace

void register_pixel_unshuffle(Registry& registry) {
  registry.add(PixelUnshuffle::kKind, forward);
  registry.add(PixelUnshuffle::kBackward, backward);
}

}  // namespace wbsr::cpu

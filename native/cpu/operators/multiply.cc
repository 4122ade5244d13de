#include "core/operators/multiply.h"

#include "cpu/elementwise.h"
#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Multiply;

// out = in0 * in1, where in1 has as many channels or one.
void product(const StepView& s) {
  const Layout l = s.outLayout();
  const float *a = s.in(0), *b = s.in(1);
  float* out = s.out();
  if (s.inValue(1).channels == s.outValue().channels) {
    chunked(s.outFloats(), [&](int64_t from, int64_t n) {
      for (int64_t i = from; i < from + n; ++i) out[i] = a[i] * b[i];
    });
    return;
  }
  const int64_t pixels = int64_t{l.h} * l.w;
  eachRow(l, s.outValue().channels, s.batch(), [&](const Plane& p, int y) {
    withLanes(l.lanes, [&](auto lanes) {
      constexpr int L = decltype(lanes)::value;
      const int64_t row = p.offset + int64_t{y} * l.w * L;
      const float* factors = b + p.image * pixels + int64_t{y} * l.w;
      for (int x = 0; x < l.w; ++x)
        for (int k = 0; k < L; ++k) out[row + int64_t{x} * L + k] = a[row + int64_t{x} * L + k] * factors[x];
    });
  });
}

void backwardSecond(const StepView& s) {
  if (s.outValue().channels == s.inValue(0).channels) return product(s);
  // One channel: the sum over the others.
  const Layout l = s.inLayout(0);
  const int channels = s.inValue(0).channels;
  const float *gradOut = s.in(0), *x = s.in(1);
  float* out = s.out();
  const int64_t rows = int64_t{s.batch()} * l.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t n = row / l.h, y = row % l.h;
    for (int column = 0; column < l.w; ++column) {
      double sum = 0;
      for (int plane = 0; plane < l.planes; ++plane) {
        const int64_t at = n * l.image() + ((int64_t{plane} * l.h + y) * l.w + column) * l.lanes;
        const int used = std::min(l.lanes, channels - plane * l.lanes);
        for (int k = 0; k < used; ++k) sum += static_cast<double>(gradOut[at + k]) * x[at + k];
      }
      out[row * l.w + column] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void register_multiply(Registry& registry) {
  registry.add(Multiply::kKind, product);
  registry.add(Multiply::kBackwardFirst, product);
  registry.add(Multiply::kBackwardSecond, backwardSecond);
}

}  // namespace wbsr::cpu

#include "core/operators/resize_like.h"

#include <algorithm>

#include "cpu/planes.h"
#include "cpu/registry.h"
#include "cpu/resize.h"

namespace wbsr::cpu {
namespace {

using operators::ResizeLike;

Axis axisOf(const ResizeLike& op, int in, int out) {
  return op.nearest() ? nearestAxis(in, out, out, in) : bilinearAxis(in, out, out, in);
}

// A pooled value fills the planes.
void spread(const StepView& s) {
  const Layout to = s.outLayout();
  const int channels = s.outValue().channels;
  const float* in = s.in(0);
  float* out = s.out();
  eachPlane(to, channels, s.batch(), [&](const Plane& p) {
    float value[kMostLanes] = {};
    std::copy_n(in + int64_t{p.image} * channels + p.channel, p.channels, value);
    float* plane = out + p.offset;
    for (int64_t i = 0; i < int64_t{to.h} * to.w; ++i) std::copy_n(value, to.lanes, plane + i * to.lanes);
  });
}

void spreadBackward(const StepView& s) {
  const Layout from = s.inLayout(0);
  const int channels = s.outValue().channels;
  const float* gradOut = s.in(0);
  float* gradIn = s.out();
  eachPlane(from, channels, s.batch(), [&](const Plane& p) {
    double sum[kMostLanes] = {};
    const float* plane = gradOut + p.offset;
    for (int64_t i = 0; i < int64_t{from.h} * from.w; ++i)
      for (int k = 0; k < p.channels; ++k) sum[k] += plane[i * from.lanes + k];
    for (int k = 0; k < p.channels; ++k)
      gradIn[int64_t{p.image} * channels + p.channel + k] = static_cast<float>(sum[k]);
  });
}

}  // namespace

void register_resize_like(Registry& registry) {
  registry.add(ResizeLike::kKind, [](const StepView& s) {
    if (s.inValue(0).pooled) return spread(s);
    const auto& op = s.op<ResizeLike>();
    const Layout from = s.inLayout(0), to = s.outLayout();
    resize(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
  registry.add(ResizeLike::kBackward, [](const StepView& s) {
    if (s.outValue().pooled) return spreadBackward(s);
    const auto& op = s.op<ResizeLike>();
    const Layout from = s.outLayout(), to = s.inLayout(0);
    resizeBackward(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
}

}  // namespace wbsr::cpu

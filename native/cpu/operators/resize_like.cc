#include "core/operators/resize_like.h"

#include "cpu/registry.h"
#include "cpu/resample.h"

namespace wbsr::cpu {
namespace {

using operators::ResizeLike;

Resample taps(const ResizeLike& op, const Layout& from, const Layout& to) {
  const auto along = [&op](int in, int out) { return tapsOf(op.interpolation(), in, out, in, out); };
  return {op.interpolation().taps(), along(from.h, to.h), along(from.w, to.w)};
}

}  // namespace

void register_resize_like(Registry& registry) {
  registry.add(ResizeLike::kKind, [](const StepView& s) {
    const Layout from = s.inLayout(0), to = s.outLayout();
    resample(taps(s.op<ResizeLike>(), from, to), from, s.in(0), to, s.out(), s.batch());
  });
  registry.add(ResizeLike::kBackward, [](const StepView& s) {
    const Layout from = s.outLayout(), to = s.inLayout(0);
    resampleBackward(taps(s.op<ResizeLike>(), from, to), from, s.out(), to, s.in(0), s.batch());
  });
}

}  // namespace wbsr::cpu

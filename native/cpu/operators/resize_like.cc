#include "core/operators/resize_like.h"

#include "cpu/registry.h"
#include "cpu/resize.h"

namespace wbsr::cpu {
namespace {

using operators::ResizeLike;

Axis axisOf(const ResizeLike& op, int in, int out) {
  return op.nearest() ? nearestAxis(in, out, out, in) : bilinearAxis(in, out, out, in);
}

}  // namespace

void register_resize_like(Registry& registry) {
  registry.add(ResizeLike::kKind, [](const StepView& s) {
    const auto& op = s.op<ResizeLike>();
    const Layout from = s.inLayout(0), to = s.outLayout();
    resize(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
  registry.add(ResizeLike::kBackward, [](const StepView& s) {
    const auto& op = s.op<ResizeLike>();
    const Layout from = s.outLayout(), to = s.inLayout(0);
    resizeBackward(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
}

}  // namespace wbsr::cpu

#include "core/operators/upsample.h"

#include "cpu/registry.h"
#include "cpu/resize.h"

namespace wbsr::cpu {
namespace {

using operators::Upsample;

Axis axisOf(const Upsample& op, int in, int out) {
  switch (op.mode()) {
    case Upsample::Nearest: return nearestAxis(in, out, op.factor(), op.divisor());
    case Upsample::Bilinear: return bilinearAxis(in, out, op.factor(), op.divisor());
    default: return bicubicAxis(in, out, op.factor(), op.divisor(), op.a());
  }
}

}  // namespace

void register_upsample(Registry& registry) {
  registry.add(Upsample::kKind, [](const StepView& s) {
    const auto& op = s.op<Upsample>();
    const Layout from = s.inLayout(0), to = s.outLayout();
    resize(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
  registry.add(Upsample::kBackward, [](const StepView& s) {
    const auto& op = s.op<Upsample>();
    const Layout from = s.outLayout(), to = s.inLayout(0);
    resizeBackward(from, s.in(0), to, s.out(), s.batch(), axisOf(op, from.h, to.h), axisOf(op, from.w, to.w));
  });
}

}  // namespace wbsr::cpu

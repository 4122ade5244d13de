#include "core/operators/upsample.h"

#include "cpu/registry.h"
#include "cpu/resample.h"

namespace wbsr::cpu {
namespace {

using operators::Upsample;

Resample taps(const Upsample& op, const Layout& from, const Layout& to) {
  const auto along = [&op](int in, int out) { return tapsOf(op.interpolation(), in, out, op.divisor(), op.factor()); };
  return {op.interpolation().taps(), along(from.h, to.h), along(from.w, to.w)};
}

}  // namespace

void register_upsample(Registry& registry) {
  registry.add(Upsample::kKind, [](const StepView& s) {
    const Layout from = s.inLayout(0), to = s.outLayout();
    resample(taps(s.op<Upsample>(), from, to), from, s.in(0), to, s.out(), s.batch());
  });
  registry.add(Upsample::kBackward, [](const StepView& s) {
    const Layout from = s.outLayout(), to = s.inLayout(0);
    resampleBackward(taps(s.op<Upsample>(), from, to), from, s.out(), to, s.in(0), s.batch());
  });
}

}  // namespace wbsr::cpu

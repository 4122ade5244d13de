#include "core/operators/affine.h"

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Affine;

void run(const StepView& s, bool withOffset) {
  const Layout l = s.outLayout();
  const auto& op = s.op<Affine>();
  const float* in = s.in(0);
  float* out = s.out();
  eachRow(l, s.outValue().channels, s.batch(), [&](const Plane& p, int y) {
    withLanes(l.lanes, [&](auto lanes) {
      constexpr int L = decltype(lanes)::value;
      float scale[L] = {}, offset[L] = {};  // lanes without a channel stay 0
      for (int k = 0; k < p.channels; ++k) {
        scale[k] = op.scale(p.channel + k);
        if (withOffset) offset[k] = op.offset(p.channel + k);
      }
      const int64_t row = p.offset + int64_t{y} * l.w * L;
      for (int64_t i = row; i < row + int64_t{l.w} * L; i += L)
        for (int k = 0; k < L; ++k) out[i + k] = in[i + k] * scale[k] + offset[k];
    });
  });
}

}  // namespace

void register_affine(Registry& registry) {
  registry.add(Affine::kKind, [](const StepView& s) { run(s, true); });
  registry.add(Affine::kBackward, [](const StepView& s) { run(s, false); });
}

}  // namespace wbsr::cpu

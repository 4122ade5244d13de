#include "core/operators/prelu.h"

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Prelu;

// out = gate > 0 ? x : slope * x, with x itself as gate (forward) or the forward input (backward).
void select(const StepView& s, const float* x, const float* gate) {
  const Layout l = s.outLayout();
  const std::vector<float> slopes = s.parameter(0, l.planes * l.lanes);
  float* out = s.out();
  eachRow(l, s.outValue().channels, s.batch(), [&](const Plane& p, int y) {
    withLanes(l.lanes, [&](auto lanes) {
      constexpr int L = decltype(lanes)::value;
      const float* slope = slopes.data() + p.channel;
      const int64_t row = p.offset + int64_t{y} * l.w * L;
      for (int64_t i = row; i < row + int64_t{l.w} * L; i += L)
        for (int k = 0; k < L; ++k) out[i + k] = gate[i + k] > 0.f ? x[i + k] : x[i + k] * slope[k];
    });
  });
}

void backwardWeights(const StepView& s) {
  const Layout l = s.inLayout(0);
  const float *gradOut = s.in(0), *x = s.in(1);
  s.addGradient(0, channelSums(l, s.inValue(0).channels, s.batch(), [&](const Plane& p, double* sums) {
                  withLanes(l.lanes, [&](auto lanes) {
                    constexpr int L = decltype(lanes)::value;
                    const int64_t end = p.offset + int64_t{l.h} * l.w * L;
                    double sum[L] = {};
                    for (int64_t i = p.offset; i < end; i += L)
                      for (int k = 0; k < L; ++k)
                        sum[k] += x[i + k] > 0.f ? 0.0 : static_cast<double>(gradOut[i + k]) * x[i + k];
                    for (int k = 0; k < L; ++k) sums[k] = sum[k];
                  });
                }));
}

}  // namespace

void register_prelu(Registry& registry) {
  registry.add(Prelu::kKind, [](const StepView& s) { select(s, s.in(0), s.in(0)); });
  registry.add(Prelu::kBackwardData, [](const StepView& s) { select(s, s.in(0), s.in(1)); });
  registry.add(Prelu::kBackwardWeights, backwardWeights);
}

}  // namespace wbsr::cpu

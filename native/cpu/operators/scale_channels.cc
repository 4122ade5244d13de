#include "core/operators/scale_channels.h"

#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::ScaleChannels;

void scaleChannels(const Layout& layout, const float* in, const float* factors, float* out, int batch, int channels) {
  const int64_t pixels = int64_t{layout.h} * layout.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * layout.planes; ++p) {
    const int n = static_cast<int>(p / layout.planes), first = static_cast<int>(p % layout.planes) * layout.lanes;
    float factor[16] = {};
    for (int l = 0; l < layout.lanes && first + l < channels; ++l)
      factor[l] = factors[int64_t{n} * channels + first + l];
    const float* from = in + p * pixels * layout.lanes;
    float* to = out + p * pixels * layout.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < layout.lanes; ++l) to[i * layout.lanes + l] = from[i * layout.lanes + l] * factor[l];
  }
}

// dFactors (N, channels) = sum over pixels of dOut * in
void scaleChannelsBackwardFactors(const Layout& layout, const float* gradOut, const float* in, float* gradFactors,
                                  int batch, int channels) {
  const int64_t pixels = int64_t{layout.h} * layout.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * layout.planes; ++p) {
    const int n = static_cast<int>(p / layout.planes), first = static_cast<int>(p % layout.planes) * layout.lanes;
    double sum[16] = {};
    const float* g = gradOut + p * pixels * layout.lanes;
    const float* x = in + p * pixels * layout.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < layout.lanes; ++l)
        sum[l] += static_cast<double>(g[i * layout.lanes + l]) * x[i * layout.lanes + l];
    for (int l = 0; l < layout.lanes && first + l < channels; ++l)
      gradFactors[int64_t{n} * channels + first + l] = static_cast<float>(sum[l]);
  }
}

void scale(const StepView& s) {
  scaleChannels(s.outLayout(), s.in(0), s.in(1), s.out(), s.batch(), s.outValue().channels);
}

}  // namespace

void register_scale_channels(Registry& registry) {
  registry.add(ScaleChannels::kKind, scale);
  registry.add(ScaleChannels::kBackwardInput, scale);
  registry.add(ScaleChannels::kBackwardFactors, [](const StepView& s) {
    scaleChannelsBackwardFactors(s.inLayout(0), s.in(0), s.in(1), s.out(), s.batch(), s.outValue().channels);
  });
}

}  // namespace wbsr::cpu

#include "core/operators/global_pool.h"

#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::GlobalPool;

// Blocked or thin -> pooled (N, channels)
void globalPool(const Layout& from, const float* in, float* out, int batch, int channels) {
  const int64_t pixels = int64_t{from.h} * from.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * from.planes; ++p) {
    const int n = static_cast<int>(p / from.planes), first = static_cast<int>(p % from.planes) * from.lanes;
    double sum[16] = {};
    const float* plane = in + p * pixels * from.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < from.lanes; ++l) sum[l] += plane[i * from.lanes + l];
    for (int l = 0; l < from.lanes && first + l < channels; ++l)
      out[int64_t{n} * channels + first + l] = static_cast<float>(sum[l] / static_cast<double>(pixels));
  }
}

void globalPoolBackward(const Layout& to, const float* gradOut, float* gradIn, int batch, int channels) {
  const int64_t pixels = int64_t{to.h} * to.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * to.planes; ++p) {
    const int n = static_cast<int>(p / to.planes), first = static_cast<int>(p % to.planes) * to.lanes;
    float share[16] = {};
    for (int l = 0; l < to.lanes && first + l < channels; ++l)
      share[l] = gradOut[int64_t{n} * channels + first + l] / static_cast<float>(pixels);
    float* plane = gradIn + p * pixels * to.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < to.lanes; ++l) plane[i * to.lanes + l] = share[l];
  }
}

}  // namespace

void register_global_pool(Registry& registry) {
  registry.add(GlobalPool::kKind, [](const StepView& s) {
    globalPool(s.inLayout(0), s.in(0), s.out(), s.batch(), s.outValue().channels);
  });
  registry.add(GlobalPool::kBackward, [](const StepView& s) {
    globalPoolBackward(s.outLayout(), s.in(0), s.out(), s.batch(), s.outValue().channels);
  });
}

}  // namespace wbsr::cpu

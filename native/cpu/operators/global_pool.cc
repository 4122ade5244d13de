#include "core/operators/global_pool.h"

#include <cmath>

#include "cpu/planes.h"
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

// In two passes, so that the difference of large numbers is never taken.
void deviation(const StepView& s) {
  const Layout l = s.inLayout(0);
  const int channels = s.outValue().channels;
  const int64_t pixels = int64_t{l.h} * l.w;
  const float* in = s.in(0);
  float* out = s.out();
  eachPlane(l, channels, s.batch(), [&](const Plane& p) {
    double mean[kMostLanes] = {}, square[kMostLanes] = {};
    const float* plane = in + p.offset;
    for (int64_t i = 0; i < pixels; ++i)
      for (int k = 0; k < l.lanes; ++k) mean[k] += plane[i * l.lanes + k];
    for (int k = 0; k < l.lanes; ++k) mean[k] /= static_cast<double>(pixels);
    for (int64_t i = 0; i < pixels; ++i)
      for (int k = 0; k < l.lanes; ++k) {
        const double d = plane[i * l.lanes + k] - mean[k];
        square[k] += d * d;
      }
    for (int k = 0; k < p.channels; ++k)
      out[int64_t{p.image} * channels + p.channel + k] =
          static_cast<float>(std::sqrt(square[k] / static_cast<double>(pixels)));
  });
}

// d std / dx = (x - mean) / (pixels * std); 0 where all pixels are equal.
void deviationBackward(const StepView& s) {
  const Layout l = s.outLayout();
  const int channels = s.outValue().channels;
  const int64_t pixels = int64_t{l.h} * l.w;
  const float *gradOut = s.in(0), *value = s.in(1), *in = s.in(2);
  float* gradIn = s.out();
  eachPlane(l, channels, s.batch(), [&](const Plane& p) {
    double mean[kMostLanes] = {};
    float scale[kMostLanes] = {};
    const float* plane = in + p.offset;
    for (int64_t i = 0; i < pixels; ++i)
      for (int k = 0; k < l.lanes; ++k) mean[k] += plane[i * l.lanes + k];
    for (int k = 0; k < l.lanes; ++k) mean[k] /= static_cast<double>(pixels);
    for (int k = 0; k < p.channels; ++k) {
      const int64_t at = int64_t{p.image} * channels + p.channel + k;
      if (value[at] > 0.f) scale[k] = gradOut[at] / (static_cast<float>(pixels) * value[at]);
    }
    float* gradient = gradIn + p.offset;
    for (int64_t i = 0; i < pixels; ++i)
      for (int k = 0; k < l.lanes; ++k)
        gradient[i * l.lanes + k] = static_cast<float>(plane[i * l.lanes + k] - mean[k]) * scale[k];
  });
}

}  // namespace

void register_global_pool(Registry& registry) {
  registry.add(GlobalPool::kKind, [](const StepView& s) {
    if (s.op<GlobalPool>().deviation()) return deviation(s);
    globalPool(s.inLayout(0), s.in(0), s.out(), s.batch(), s.outValue().channels);
  });
  registry.add(GlobalPool::kBackward, [](const StepView& s) {
    if (s.op<GlobalPool>().deviation()) return deviationBackward(s);
    globalPoolBackward(s.outLayout(), s.in(0), s.out(), s.batch(), s.outValue().channels);
  });
}

}  // namespace wbsr::cpu

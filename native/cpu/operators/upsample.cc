#include "core/operators/upsample.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Upsample;

// Taps of one output coordinate: half-pixel centres, edges clamped. Bilinear 2 taps, bicubic (a = -0.5) 4.
struct Taps {
  int index[4];
  float weight[4];
};

float cubicWeight(float x) {
  x = std::fabs(x);
  if (x <= 1.f) return (1.5f * x - 2.5f) * x * x + 1.f;
  if (x < 2.f) return ((-0.5f * x + 2.5f) * x - 4.f) * x + 2.f;
  return 0.f;
}

std::vector<Taps> tapsOf(int size, int factor, bool cubic) {
  std::vector<Taps> taps(static_cast<size_t>(size) * factor);
  const int count = cubic ? 4 : 2;
  for (int o = 0; o < size * factor; ++o) {
    const float centre = (o + 0.5f) / factor - 0.5f;
    const int first = static_cast<int>(std::floor(centre)) - (cubic ? 1 : 0);
    for (int t = 0; t < count; ++t) {
      const float distance = centre - (first + t);
      taps[o].index[t] = std::clamp(first + t, 0, size - 1);
      taps[o].weight[t] = cubic ? cubicWeight(distance) : 1.f - std::fabs(distance);
    }
  }
  return taps;
}

void upsample(const Layout& from, const float* in, float* out, int batch, int factor, bool cubic) {
  const auto rows = tapsOf(from.h, factor, cubic), columns = tapsOf(from.w, factor, cubic);
  const int count = cubic ? 4 : 2, H = from.h * factor, W = from.w * factor, L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < planes; ++p)
    for (int y = 0; y < H; ++y) {
      // Vertical pass into one row, then the horizontal pass.
      std::vector<float> row(static_cast<size_t>(from.w) * L, 0.f);
      for (int t = 0; t < count; ++t) {
        const float weight = rows[y].weight[t];
        const float* source = in + (p * from.h + rows[y].index[t]) * from.w * L;
        for (int i = 0; i < from.w * L; ++i) row[i] += weight * source[i];
      }
      float* to = out + (p * H + y) * int64_t{W} * L;
      if (L == 1) {
        for (int x = 0; x < W; ++x) {
          const Taps& taps = columns[x];
          float sum = taps.weight[0] * row[taps.index[0]] + taps.weight[1] * row[taps.index[1]];
          if (cubic) sum += taps.weight[2] * row[taps.index[2]] + taps.weight[3] * row[taps.index[3]];
          to[x] = sum;
        }
      } else {
        for (int x = 0; x < W; ++x)
          for (int l = 0; l < L; ++l) {
            float sum = 0.f;
            for (int t = 0; t < count; ++t) sum += columns[x].weight[t] * row[columns[x].index[t] * L + l];
            to[x * L + l] = sum;
          }
      }
    }
}

void upsampleBackward(const Layout& from, const float* gradOut, float* gradIn, int batch, int factor, bool cubic) {
  const auto rows = tapsOf(from.h, factor, cubic), columns = tapsOf(from.w, factor, cubic);
  const int count = cubic ? 4 : 2, H = from.h * factor, W = from.w * factor, L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < planes; ++p) {
    float* to = gradIn + p * from.h * from.w * L;
    std::fill(to, to + int64_t{from.h} * from.w * L, 0.f);
    std::vector<float> row(static_cast<size_t>(from.w) * L);
    for (int y = 0; y < H; ++y) {
      std::fill(row.begin(), row.end(), 0.f);
      const float* source = gradOut + (p * H + y) * int64_t{W} * L;
      for (int x = 0; x < W; ++x)
        for (int t = 0; t < count; ++t)
          for (int l = 0; l < L; ++l) row[columns[x].index[t] * L + l] += columns[x].weight[t] * source[x * L + l];
      for (int t = 0; t < count; ++t) {
        float* target = to + int64_t{rows[y].index[t]} * from.w * L;
        for (int i = 0; i < from.w * L; ++i) target[i] += rows[y].weight[t] * row[i];
      }
    }
  }
}

}  // namespace

void register_upsample(Registry& registry) {
  registry.add(Upsample::kKind, [](const StepView& s) {
    const auto& op = s.op<Upsample>();
    cpu::upsample(s.inLayout(0), s.in(0), s.out(), s.batch(), op.factor(), op.cubic());
  });
  registry.add(Upsample::kBackward, [](const StepView& s) {
    const auto& op = s.op<Upsample>();
    upsampleBackward(s.outLayout(), s.in(0), s.out(), s.batch(), op.factor(), op.cubic());
  });
}

}  // namespace wbsr::cpu

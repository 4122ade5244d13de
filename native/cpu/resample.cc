#include "cpu/resample.h"

#include <algorithm>

namespace wbsr::cpu {

std::vector<Taps> tapsOf(const Interpolation& interpolation, int in, int out, int num, int den) {
  std::vector<Taps> taps(static_cast<size_t>(out));
  for (int o = 0; o < out; ++o) {
    float centre;
    const int first = interpolation.first(o, num, den, &centre);
    for (int t = 0; t < interpolation.taps(); ++t) {
      taps[o].index[t] = std::clamp(first + t, 0, in - 1);
      taps[o].weight[t] = interpolation.weight(centre - static_cast<float>(first + t));
    }
  }
  return taps;
}

void resample(const Resample& resample, const Layout& from, const float* in, const Layout& to, float* out, int batch) {
  const auto &rows = resample.rows, &columns = resample.columns;
  const int count = resample.taps, H = to.h, W = to.w, L = from.lanes;
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
      float* target = out + (p * H + y) * int64_t{W} * L;
      for (int x = 0; x < W; ++x)
        for (int l = 0; l < L; ++l) {
          float sum = 0.f;
          for (int t = 0; t < count; ++t) sum += columns[x].weight[t] * row[columns[x].index[t] * L + l];
          target[x * L + l] = sum;
        }
    }
}

void resampleBackward(const Resample& resample, const Layout& from, float* gradIn, const Layout& to,
                      const float* gradOut, int batch) {
  const auto &rows = resample.rows, &columns = resample.columns;
  const int count = resample.taps, H = to.h, W = to.w, L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < planes; ++p) {
    float* target = gradIn + p * from.h * from.w * L;
    std::fill(target, target + int64_t{from.h} * from.w * L, 0.f);
    std::vector<float> row(static_cast<size_t>(from.w) * L);
    for (int y = 0; y < H; ++y) {
      std::fill(row.begin(), row.end(), 0.f);
      const float* source = gradOut + (p * H + y) * int64_t{W} * L;
      for (int x = 0; x < W; ++x)
        for (int t = 0; t < count; ++t)
          for (int l = 0; l < L; ++l) row[columns[x].index[t] * L + l] += columns[x].weight[t] * source[x * L + l];
      for (int t = 0; t < count; ++t) {
        float* sum = target + int64_t{rows[y].index[t]} * from.w * L;
        for (int i = 0; i < from.w * L; ++i) sum[i] += rows[y].weight[t] * row[i];
      }
    }
  }
}

}  // namespace wbsr::cpu

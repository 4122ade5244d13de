#include "cpu/resize.h"

#include <algorithm>
#include <cmath>

#include "core/math/cubic.h"
#include "cpu/planes.h"

namespace wbsr::cpu {
namespace {

// weight(distance from the centre), of `count` samples around it.
template <class Weight>
Axis interpolating(int count, int in, int out, int factor, int divisor, Weight weight) {
  Axis axis{count, std::vector<Taps>(static_cast<size_t>(out))};
  for (int o = 0; o < out; ++o) {
    const float centre = (o + 0.5f) * static_cast<float>(divisor) / static_cast<float>(factor) - 0.5f;
    const int first = static_cast<int>(std::floor(centre)) - (count / 2 - 1);
    Taps& taps = axis.taps[static_cast<size_t>(o)];
    for (int t = 0; t < count; ++t) {
      taps.index[t] = std::clamp(first + t, 0, in - 1);
      taps.weight[t] = weight(centre - static_cast<float>(first + t));
    }
  }
  return axis;
}

// The sum of `count` rows of n floats.
void sumOfRows(const float* plane, int64_t stride, const Taps& taps, int count, int64_t n, float* sum) {
  std::fill(sum, sum + n, 0.f);
  for (int t = 0; t < count; ++t) {
    const float weight = taps.weight[t];
    const float* source = plane + taps.index[t] * stride;
    for (int64_t i = 0; i < n; ++i) sum[i] += weight * source[i];
  }
}

}  // namespace

Axis nearestAxis(int in, int out, int factor, int divisor) {
  Axis axis{1, std::vector<Taps>(static_cast<size_t>(out))};
  for (int o = 0; o < out; ++o) {
    const auto index = static_cast<int>(int64_t{o} * divisor / factor);
    axis.taps[static_cast<size_t>(o)] = {{std::min(index, in - 1)}, {1.f}};
  }
  return axis;
}

Axis bilinearAxis(int in, int out, int factor, int divisor) {
  return interpolating(2, in, out, factor, divisor, [](float distance) { return 1.f - std::fabs(distance); });
}

Axis bicubicAxis(int in, int out, int factor, int divisor, float a) {
  return interpolating(4, in, out, factor, divisor, [a](float distance) { return math::cubicKernel(distance, a); });
}

void resize(const Layout& from, const float* in, const Layout& to, float* out, int batch, const Axis& rows,
            const Axis& columns) {
  const int L = from.lanes, count = columns.count;
  const int64_t planes = int64_t{batch} * from.planes, width = int64_t{from.w} * L;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < planes; ++p)
    for (int y = 0; y < to.h; ++y) {
      // Vertical pass into one row, then the horizontal pass.
      std::vector<float> row(static_cast<size_t>(width));
      sumOfRows(in + p * from.h * width, width, rows.taps[static_cast<size_t>(y)], rows.count, width, row.data());
      float* target = out + (p * to.h + y) * int64_t{to.w} * L;
      withLanes(L, [&](auto lanes) {
        constexpr int kLanes = decltype(lanes)::value;
        for (int x = 0; x < to.w; ++x) {
          const Taps& taps = columns.taps[static_cast<size_t>(x)];
          if (kLanes == 1 && count == 4) {  // two independent sums
            const float first = taps.weight[0] * row[taps.index[0]] + taps.weight[1] * row[taps.index[1]];
            target[x] = first + (taps.weight[2] * row[taps.index[2]] + taps.weight[3] * row[taps.index[3]]);
            continue;
          }
          float sum[kLanes] = {};
          for (int t = 0; t < count; ++t)
            for (int l = 0; l < kLanes; ++l) sum[l] += taps.weight[t] * row[taps.index[t] * kLanes + l];
          for (int l = 0; l < kLanes; ++l) target[x * kLanes + l] = sum[l];
        }
      });
    }
}

void resizeBackward(const Layout& from, const float* gradOut, const Layout& to, float* gradIn, int batch,
                    const Axis& rows, const Axis& columns) {
  const int L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes, width = int64_t{from.w} * L;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < planes; ++p) {
    float* plane = gradIn + p * from.h * width;
    std::fill(plane, plane + from.h * width, 0.f);
    std::vector<float> row(static_cast<size_t>(width));
    for (int y = 0; y < to.h; ++y) {
      std::fill(row.begin(), row.end(), 0.f);
      const float* source = gradOut + (p * to.h + y) * int64_t{to.w} * L;
      for (int x = 0; x < to.w; ++x) {
        const Taps& taps = columns.taps[static_cast<size_t>(x)];
        for (int t = 0; t < columns.count; ++t)
          for (int l = 0; l < L; ++l)
            row[static_cast<size_t>(taps.index[t]) * L + l] += taps.weight[t] * source[x * L + l];
      }
      const Taps& taps = rows.taps[static_cast<size_t>(y)];
      for (int t = 0; t < rows.count; ++t) {
        float* target = plane + taps.index[t] * width;
        for (int64_t i = 0; i < width; ++i) target[i] += taps.weight[t] * row[static_cast<size_t>(i)];
      }
    }
  }
}

}  // namespace wbsr::cpu

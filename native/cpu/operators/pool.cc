#include "core/operators/pool.h"

#include <algorithm>
#include <limits>

#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Pool;

constexpr int kMostLanes = 16;

void pool(const Pool& op, const Layout& from, const float* in, const Layout& to, float* out, int batch) {
  const int L = from.lanes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * from.planes; ++p)
    for (int y = 0; y < to.h; ++y) {
      const float* plane = in + p * from.h * from.w * L;
      float* row = out + (p * to.h + y) * to.w * L;
      const Range rows = op.window(y, from.h, to.h);
      for (int x = 0; x < to.w; ++x) {
        const Range columns = op.window(x, from.w, to.w);
        float result[kMostLanes];
        std::fill(result, result + L, op.max() ? -std::numeric_limits<float>::infinity() : 0.f);
        for (int yy = rows.from; yy < rows.from + rows.count; ++yy)
          for (int xx = columns.from; xx < columns.from + columns.count; ++xx) {
            const float* pixel = plane + (int64_t{yy} * from.w + xx) * L;
            if (op.max())
              for (int l = 0; l < L; ++l)
                result[l] = pixel[l] > result[l] || pixel[l] != pixel[l] ? pixel[l] : result[l];
            else
              for (int l = 0; l < L; ++l) result[l] += pixel[l];
          }
        const float share = op.max() ? 1.f : 1.f / static_cast<float>(op.area(rows, columns));
        for (int l = 0; l < L; ++l) row[x * L + l] = result[l] * share;
      }
    }
}

// The first of several equal largest values takes the gradient, as in PyTorch.
void poolBackward(const Pool& op, const Layout& from, const float* in, const Layout& to, const float* gradOut,
                  float* gradIn, int batch) {
  const int L = from.lanes;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * from.planes; ++p) {
    float* target = gradIn + p * from.h * from.w * L;
    std::fill(target, target + int64_t{from.h} * from.w * L, 0.f);
    const float* plane = in ? in + p * from.h * from.w * L : nullptr;
    for (int y = 0; y < to.h; ++y) {
      const Range rows = op.window(y, from.h, to.h);
      for (int x = 0; x < to.w; ++x) {
        const Range columns = op.window(x, from.w, to.w);
        const float* g = gradOut + ((p * to.h + y) * to.w + x) * L;
        if (plane) {
          for (int l = 0; l < L; ++l) {
            int64_t largest = (int64_t{rows.from} * from.w + columns.from) * L + l;
            for (int yy = rows.from; yy < rows.from + rows.count; ++yy)
              for (int xx = columns.from; xx < columns.from + columns.count; ++xx) {
                const int64_t at = (int64_t{yy} * from.w + xx) * L + l;
                if (plane[at] > plane[largest]) largest = at;
              }
            target[largest] += g[l];
          }
        } else {
          const float share = 1.f / static_cast<float>(op.area(rows, columns));
          for (int yy = rows.from; yy < rows.from + rows.count; ++yy)
            for (int xx = columns.from; xx < columns.from + columns.count; ++xx)
              for (int l = 0; l < L; ++l) target[(int64_t{yy} * from.w + xx) * L + l] += share * g[l];
        }
      }
    }
  }
}

}  // namespace

void register_pool(Registry& registry) {
  registry.add(Pool::kKind, [](const StepView& s) {
    cpu::pool(s.op<Pool>(), s.inLayout(0), s.in(0), s.outLayout(), s.out(), s.batch());
  });
  registry.add(Pool::kBackward, [](const StepView& s) {
    const auto& op = s.op<Pool>();
    poolBackward(op, s.outLayout(), op.max() ? s.in(1) : nullptr, s.inLayout(0), s.in(0), s.out(), s.batch());
  });
}

}  // namespace wbsr::cpu

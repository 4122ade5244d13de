#include "core/operators/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Pool;

std::vector<Pool::Window> windowsOf(const Pool& op, int in, int out) {
  std::vector<Pool::Window> windows;
  for (int o = 0; o < out; ++o) windows.push_back(op.window(o, in, out));
  return windows;
}

void forward(const StepView& s) {
  const Layout from = s.inLayout(0), to = s.outLayout();
  const auto& op = s.op<Pool>();
  const auto rows = windowsOf(op, from.h, to.h), columns = windowsOf(op, from.w, to.w);
  const float* in = s.in(0);
  float* out = s.out();
  eachRow(to, s.outValue().channels, s.batch(), [&](const Plane& p, int y) {
    withLanes(to.lanes, [&](auto lanes) {
      constexpr int L = decltype(lanes)::value;
      const float* plane = in + p.offset / (int64_t{to.h} * to.w) * from.h * from.w;
      const Pool::Window& row = rows[static_cast<size_t>(y)];
      for (int x = 0; x < to.w; ++x) {
        const Pool::Window& column = columns[static_cast<size_t>(x)];
        float value[L];
        std::fill(value, value + L, op.average() ? 0.f : -std::numeric_limits<float>::infinity());
        for (int yi = row.first; yi < row.last; ++yi) {
          const float* pixel = plane + (int64_t{yi} * from.w + column.first) * L;
          for (int xi = column.first; xi < column.last; ++xi, pixel += L)
            for (int k = 0; k < L; ++k)
              value[k] = op.average() ? value[k] + pixel[k] : pixel[k] > value[k] ? pixel[k] : value[k];
        }
        const float scale = op.average() ? 1.f / static_cast<float>(row.count * column.count) : 1.f;
        float* target = out + p.offset + (int64_t{y} * to.w + x) * L;
        for (int k = 0; k < L; ++k) target[k] = value[k] * scale;
      }
    });
  });
}

// Windows may overlap: one plane at a time. The gradient of a maximum goes to its first place, row by row.
void backward(const StepView& s) {
  const Layout from = s.outLayout(), to = s.inLayout(0);
  const auto& op = s.op<Pool>();
  const auto rows = windowsOf(op, from.h, to.h), columns = windowsOf(op, from.w, to.w);
  const float *gradOut = s.in(0), *in = op.average() ? nullptr : s.in(1);
  float* gradIn = s.out();
  eachPlane(from, s.outValue().channels, s.batch(), [&](const Plane& p) {
    const int L = from.lanes;
    const int64_t pixels = int64_t{from.h} * from.w;
    float* plane = gradIn + p.offset;
    std::fill(plane, plane + pixels * L, 0.f);
    const float* gradient = gradOut + p.offset / pixels * to.h * to.w;
    for (const Pool::Window& row : rows)
      for (const Pool::Window& column : columns) {
        const float scale = 1.f / static_cast<float>(row.count * column.count);
        for (int k = 0; k < L; ++k) {
          int64_t best = -1;
          for (int yi = row.first; yi < row.last; ++yi)
            for (int xi = column.first; xi < column.last; ++xi) {
              const int64_t at = (int64_t{yi} * from.w + xi) * L + k;
              if (op.average())
                plane[at] += gradient[k] * scale;
              else if (best < 0 || in[p.offset + at] > in[p.offset + best])
                best = at;
            }
          if (best >= 0) plane[best] += gradient[k];
        }
        gradient += L;
      }
  });
}

}  // namespace

void register_pool(Registry& registry) {
  registry.add(Pool::kKind, forward);
  registry.add(Pool::kBackward, backward);
}

}  // namespace wbsr::cpu

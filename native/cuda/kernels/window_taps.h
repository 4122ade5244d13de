// Tables of the axes of resizing and pooling (resample.h, max_pool.h).
#pragma once
#include "cuda/kernels/max_pool.h"
#include "cuda/kernels/resample.h"

namespace wbsr::cuda {

enum class Interpolation { Nearest, Bilinear, Bicubic };

// Output o lies at (o + 0.5) ratio - 0.5 between the inputs, ratio = num / den inputs per output; beyond the ends the
// nearest input is used. Nearest: input floor(o ratio). a: of Keys' cubic.
AxisTaps resizeTaps(Interpolation mode, double a, int inputs, int outputs, int64_t num, int64_t den);

// The inputs begin .. end - 1 of an output; length: what an average divides by, padding included.
struct Window {
  int begin, end, length;
};
AxisTaps averageTaps(const std::vector<Window>& windows);

// Windows on the device.
template <typename Compiler>
WindowAxis makeWindowAxis(Compiler& compiler, const std::vector<Window>& windows, int inputs) {
  std::vector<int> begin, end, from(static_cast<size_t>(inputs), 0), to(static_cast<size_t>(inputs), 0);
  for (size_t o = 0; o < windows.size(); ++o) {
    begin.push_back(windows[o].begin);
    end.push_back(windows[o].end);
    for (int i = windows[o].begin; i < windows[o].end; ++i) {
      if (to[static_cast<size_t>(i)] == 0) from[static_cast<size_t>(i)] = static_cast<int>(o);
      to[static_cast<size_t>(i)] = static_cast<int>(o) + 1;
    }
  }
  return {inputs,
          static_cast<int>(windows.size()),
          compiler.constants(begin),
          compiler.constants(end),
          compiler.constants(from),
          compiler.constants(to)};
}

}  // namespace wbsr::cuda

#include "cpu/pointwise.h"

#include <algorithm>

#include "core/error.h"

namespace wbsr::cpu {

std::vector<float> packPointwise(const std::vector<float>& dense, int rows, int columns, int lanes) {
  const int group = simd::pointwise(lanes)->group * lanes;
  std::vector<float> packed(static_cast<size_t>(rows) * columns);
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column) {
      const int first = row / group * group, outputs = std::min(group, rows - first);
      packed[static_cast<size_t>(first) * columns + static_cast<size_t>(column) * outputs + (row - first)] =
          dense[static_cast<size_t>(row) * columns + column];
    }
  return packed;
}

void runPointwise(const simd::Pointwise& kernel, const PointwiseImages& images) {
  const Layout& to = images.to;
  const int64_t pixels = int64_t{to.h} * to.w;
  std::vector<const float*> blocks;  // of every image in turn
  for (int n = 0; n < images.batch; ++n)
    for (const PointwiseInput& part : images.in) {
      const Layout& from = part.layout;
      WBSR_CHECK(from.kind == Layout::Blocked && from.h == to.h && from.w == to.w);
      for (int b = 0; b < from.planes; ++b) blocks.push_back(part.values + n * from.image() + b * pixels * from.lanes);
    }
  const int blocksIn = static_cast<int>(blocks.size()) / images.batch;
  constexpr int64_t kPixelsOfTask = 480;
  const int64_t tasks = (pixels + kPixelsOfTask - 1) / kPixelsOfTask;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int n = 0; n < images.batch; ++n)
    for (int64_t task = 0; task < tasks; ++task) {
      simd::Finish finish = images.finish;
      if (finish.residual) finish.residual += n * to.image();
      const simd::PointwiseConv conv{blocks.data() + static_cast<ptrdiff_t>(n) * blocksIn,
                                     images.weights,
                                     finish,
                                     images.out + n * to.image(),
                                     pixels,
                                     blocksIn,
                                     to.planes,
                                     images.channels};
      const int64_t first = task * kPixelsOfTask;
      kernel.run(conv, first, std::min(kPixelsOfTask, pixels - first));
    }
}

}  // namespace wbsr::cpu

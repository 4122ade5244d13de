#include "cpu/region_runner.h"

#include <vector>

#include "core/math/ramp.h"

namespace wbsr::cpu {

void RegionRunner::run(const Region& r, const Source& source, const volatile int32_t* cancel, RegionResult& result) {
  const Keep keep{r.keepX - r.x, r.keepY - r.y, r.keepWidth, r.keepHeight};
  Executable& network = executables_.get(r.subnet, 1, r.height, r.width, keep, false);
  result.covered = network.program().covered;
  const int64_t scale = context_.graph.scale(), pixels = int64_t{r.height} * r.width;
  float* input = input_.reserve(3 * pixels);
#pragma omp parallel for schedule(static)
  for (int y = 0; y < r.height; ++y) {
    const float* from = source.rgb + ((int64_t{r.y} + y) * source.width + r.x) * 3;
    float* to = input + int64_t{y} * r.width;
    for (int x = 0; x < r.width; ++x)
      for (int c = 0; c < 3; ++c) to[c * pixels + x] = from[3 * x + c];
  }
  RunArguments arguments;
  arguments.input = input;
  arguments.output = result.values.reserve(3 * scale * scale * result.covered.width * result.covered.height);
  arguments.cancel = cancel;
  network.run(arguments);
}

void RegionRunner::forward(int subnet, const float* input, float* output, int batch, int height, int width) {
  RunArguments arguments;
  arguments.input = input;
  arguments.output = output;
  executables_.get(subnet, batch, height, width, {}, false).run(arguments);
}

// Weight of every output column (or row) of a kept part.
static std::vector<float> ramp(int size, int before, int after) {
  std::vector<float> weight(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) weight[static_cast<size_t>(i)] = math::rampWeight(i, size, before, after);
  return weight;
}

void blend(const Region& r, const RegionResult& result, const Source& source, int scale, const simd::Kernels& kernels) {
  const Keep& covered = result.covered;
  const int64_t outW = int64_t{covered.width} * scale, outH = int64_t{covered.height} * scale;
  const std::vector<float> wx = ramp(r.keepWidth * scale, r.rampLeft * scale, r.rampRight * scale);
  const std::vector<float> wy = ramp(r.keepHeight * scale, r.rampTop * scale, r.rampBottom * scale);
  const int64_t pictureWidth = int64_t{source.width} * scale;
  const float* from =
      result.values.data() + (int64_t{r.keepY - r.y - covered.y} * outW + (r.keepX - r.x - covered.x)) * scale;
#pragma omp parallel for schedule(static)
  for (int y = 0; y < r.keepHeight * scale; ++y) {
    const float* row = from + y * outW;
    const int64_t at = (int64_t{r.keepY} * scale + y) * pictureWidth + int64_t{r.keepX} * scale;
    kernels.blendRow(row, row + outH * outW, row + 2 * outH * outW, wx.data(), wy[static_cast<size_t>(y)],
                     source.sum + at * 3, source.weight + at, int64_t{r.keepWidth} * scale);
  }
}

}  // namespace wbsr::cpu

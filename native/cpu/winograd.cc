#include "cpu/winograd.h"

#include <omp.h>

#include <algorithm>
#include <bit>

#include "core/error.h"
#include "cpu/team.h"

namespace wbsr::cpu {

std::vector<float> packWinograd(const std::vector<float>& dense, int rows, int columns, int lanes) {
  constexpr double kTransform[6][3] = {{1. / 4, 0, 0},
                                       {-1. / 6, -1. / 6, -1. / 6},
                                       {-1. / 6, 1. / 6, -1. / 6},
                                       {1. / 24, 1. / 12, 1. / 6},
                                       {1. / 24, -1. / 12, 1. / 6},
                                       {0, 0, 1}};
  const int group = simd::winograd(lanes)->group * lanes;
  constexpr int kPoints = simd::kWinogradPoints, kMostLanes = 16;
  std::vector<float> packed(static_cast<size_t>(kPoints) * rows * columns);
  // (36, columns, outputs of the group) for each group of outputs. A training step packs anew, so lanes go side by side.
#pragma omp parallel for schedule(static) collapse(2)
  for (int row = 0; row < rows; row += lanes)
    for (int column = 0; column < columns; ++column) {
      const int first = row / group * group, outputs = std::min(group, rows - first);
      double g[9][kMostLanes], half[6][3][kMostLanes];
      for (int t = 0; t < 9; ++t)
        for (int l = 0; l < lanes; ++l)
          g[t][l] = static_cast<double>(dense[(static_cast<size_t>(row + l) * columns + column) * 9 + t]);
      for (int i = 0; i < 6; ++i)
        for (int x = 0; x < 3; ++x)
          for (int l = 0; l < lanes; ++l)
            half[i][x][l] =
                kTransform[i][0] * g[x][l] + kTransform[i][1] * g[3 + x][l] + kTransform[i][2] * g[6 + x][l];
      float* to = packed.data() + static_cast<int64_t>(kPoints) * columns * first + (row - first);
      for (int i = 0; i < 6; ++i)
        for (int j = 0; j < 6; ++j) {
          float* point = to + (static_cast<int64_t>(6 * i + j) * columns + column) * outputs;
          for (int l = 0; l < lanes; ++l)
            point[l] = static_cast<float>(half[i][0][l] * kTransform[j][0] + half[i][1][l] * kTransform[j][1] +
                                          half[i][2][l] * kTransform[j][2]);
        }
    }
  return packed;
}

void runWinograd(const simd::Winograd& kernel, const WinogradImages& images, Buffer& scratch) {
  const Layout &from = images.from, &to = images.to;
  WBSR_CHECK(from.kind == Layout::Blocked && to.kind == Layout::Blocked && from.h == to.h && from.w == to.w);
  const int r = images.factor;
  WBSR_CHECK(r == 1 || to.planes == r * r * to.blocks);
  const int64_t row = int64_t{to.w} * r * to.lanes, plane = int64_t{to.h} * r * row;
  std::vector<int64_t> outBlocks(static_cast<size_t>(to.planes));
  for (int b = 0; b < to.planes; ++b) {
    const int subPixel = b / to.blocks, block = b % to.blocks;
    outBlocks[static_cast<size_t>(b)] =
        r == 1 ? b * plane : block * plane + subPixel / r * row + subPixel % r * to.lanes;
  }

  const int tiles = simd::winogradTiles(to.h, to.w);
  const int64_t perThread = kernel.scratch(from.planes, to.planes);
  float* memory = scratch.reserve(perThread * teamSize());
  // Several blocks of tiles per task: few enough tasks to cost nothing, enough of them to even out the threads.
  constexpr int kTilesOfTask = 72;
  const int tasks = (tiles + kTilesOfTask - 1) / kTilesOfTask;
#pragma omp parallel for collapse(2) schedule(dynamic)
  for (int n = 0; n < images.batch; ++n)
    for (int task = 0; task < tasks; ++task) {
      simd::Finish finish = images.finish;
      if (finish.residual) finish.residual += n * to.image();
      const simd::WinogradConv conv{images.in + n * from.image(),
                                    images.weights,
                                    finish,
                                    images.out + n * to.image(),
                                    outBlocks.data(),
                                    r * row,
                                    int64_t{r} * to.lanes,
                                    from.planes,
                                    to.planes,
                                    to.h,
                                    to.w,
                                    images.channels};
      const int first = task * kTilesOfTask;
      kernel.run(conv, first, std::min(kTilesOfTask, tiles - first), memory + omp_get_thread_num() * perThread);
    }
}

void runWinogradGradient(const simd::Winograd& kernel, const WinogradGradientImages& images,
                         const std::function<void(int channel, const float* filters)>& take, float* bias,
                         Buffer& scratch) {
  const Layout &from = images.from, &to = images.to;
  WBSR_CHECK(from.kind == Layout::Blocked && to.kind == Layout::Blocked && from.h == to.h && from.w == to.w);
  // Each part has sums of its own, which are added in order at the end. As a power of two they divide evenly among most
  // numbers of threads.
  constexpr int kTilesOfPart = 96, kMostParts = 32;
  const int tiles = simd::winogradTiles(to.h, to.w), all = tiles * images.batch;
  const int parts =
      static_cast<int>(std::bit_floor(static_cast<unsigned>(std::clamp(all / kTilesOfPart, 1, kMostParts))));
  const int outputs = to.planes * to.lanes, channels = images.channels;
  const int64_t sums = int64_t{simd::kWinogradPoints} * channels * outputs, part = sums + outputs;
  const int64_t perThread = std::max(kernel.gradientScratch(from.planes, to.planes), int64_t{9} * outputs);
  float* ofParts = scratch.reserve(part * parts + perThread * teamSize());
  float* memory = ofParts + part * parts;
#pragma omp parallel for schedule(dynamic)
  for (int p = 0; p < parts; ++p) {
    float* own = ofParts + p * part;
    std::fill_n(own, part, 0.f);
    const int end = static_cast<int>(int64_t{all} * (p + 1) / parts);
    for (int at = static_cast<int>(int64_t{all} * p / parts); at < end;) {
      const int n = at / tiles, first = at % tiles, count = std::min(tiles - first, end - at);
      const simd::WinogradGradient gradient{
          images.in + n * from.image(), images.gradOut + n * to.image(), from.planes, to.planes, to.h, to.w, channels};
      kernel.addGradient(gradient, first, count, own, own + sums, memory + omp_get_thread_num() * perThread);
      at += count;
    }
  }
#pragma omp parallel for schedule(static)
  for (int i = 0; i < channels; ++i) {
    float* filters = memory + omp_get_thread_num() * perThread;
    kernel.gradientFilters(ofParts, parts, part, channels, to.planes, i, filters);
    take(i, filters);
  }
  std::copy_n(ofParts + sums, outputs, bias);
  for (int p = 1; p < parts; ++p)
    for (int o = 0; o < outputs; ++o) bias[o] += ofParts[p * part + sums + o];
}

}  // namespace wbsr::cpu

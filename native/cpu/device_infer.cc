// Inference on the CPU device: routing, the canvas, batches of regions through the network and into the sums.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/math/ramp.h"
#include "core/math/route.h"
#include "core/region_flops.h"
#include "cpu/cpu_device.h"
#include "image/image.h"

namespace wbsr::cpu {
namespace {

class CpuCanvas : public Canvas {
 public:
  CpuCanvas(int64_t width, int64_t rows, int threads)
      : width_(width),
        rows_(rows),
        threads_(threads),
        sum_(sums_.reserve(width * rows * 3)),
        weight_(weights_.reserve(width * rows)) {}

  void move(int64_t from, int64_t kept, int64_t rows) override {
    WBSR_CHECK(from >= 0 && kept >= 0 && kept <= rows && rows <= rows_ && from + kept <= rows_);
    moveRows(sum_, width_ * 3, from, kept, rows);
    moveRows(weight_, width_, from, kept, rows);
  }

  void finish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) override {
    WBSR_CHECK(first >= 0 && rows >= 0 && first + rows <= rows_);
    omp_set_num_threads(threads_);
    image::finishRows(sum_ + first * width_ * 3, weight_ + first * width_, static_cast<int>(width_), 0,
                      static_cast<int>(rows), channels, alpha, type, out);
  }

  int64_t bytes() const override { return sums_.bytes() + weights_.bytes(); }

  float* sum() const { return sum_; }        // (rows, width, 3)
  float* weight() const { return weight_; }  // (rows, width)
  int64_t width() const { return width_; }
  int64_t rows() const { return rows_; }

 private:
  static void moveRows(float* values, int64_t row, int64_t from, int64_t kept, int64_t rows) {
    if (from > 0 && kept > 0)
      std::memmove(values, values + from * row, static_cast<size_t>(kept * row) * sizeof(float));
    std::fill(values + kept * row, values + rows * row, 0.f);
  }

  int64_t width_, rows_;
  int threads_;
  Buffer sums_, weights_;
  float *sum_, *weight_;
};

// A picture as the loops below want it.
struct Source {
  const float* rgb;  // (height, width, 3)
  int width;
  float *sum, *weight;
};

// Weight of every output column (or row) of a kept part.
std::vector<float> ramp(int size, int before, int after) {
  std::vector<float> weight(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) weight[static_cast<size_t>(i)] = math::rampWeight(i, size, before, after);
  return weight;
}

bool isRgbFloat(const View& view) { return view.type == Sample::F32 && view.channels == 3; }

// `converted` takes what is not float RGB already.
std::vector<Source> readPictures(const std::vector<Picture>& pictures, int scale, Buffer& converted) {
  int64_t floats = 0;
  for (const Picture& p : pictures)
    if (!isRgbFloat(p.pixels)) floats += int64_t{3} * p.pixels.width * p.pixels.height;
  float* next = converted.reserve(floats);
  std::vector<Source> sources;
  for (const Picture& p : pictures) {
    const View& view = p.pixels;
    Source source{static_cast<const float*>(view.data), view.width, p.sum, p.weight};
    if (!isRgbFloat(view)) {
      image::toRgbFloat(view, next);
      source.rgb = next;
      next += int64_t{3} * view.width * view.height;
    }
    if (p.canvas) {
      auto* canvas = dynamic_cast<CpuCanvas*>(p.canvas);
      WBSR_CHECK(canvas && canvas->width() == int64_t{view.width} * scale &&
                 canvas->rows() >= int64_t{view.height} * scale);
      source.sum = canvas->sum();
      source.weight = canvas->weight();
    }
    sources.push_back(source);
  }
  return sources;
}

}  // namespace

std::unique_ptr<Canvas> CpuDevice::makeCanvas(int64_t width, int64_t rows) {
  return std::make_unique<CpuCanvas>(width, rows, threads_);
}

void CpuDevice::route(const RouteJob& job) {
  omp_set_num_threads(threads_);
  const int tile = job.tile, width = job.pixels.width, height = job.pixels.height;
  std::vector<int32_t> rects;
  for (int y = 0; y < height; y += tile)
    for (int x = 0; x < width; x += tile)
      rects.insert(rects.end(), {x, y, std::min(tile, width - x), std::min(tile, height - y)});
  const size_t count = rects.size() / 4;
  std::vector<double> vectors(count * 4);
  image::gradientVectors(job.pixels, rects.data(), static_cast<int>(count), vectors.data());
  for (size_t i = 0; i < count; ++i) {
    job.difficulties[i] = math::difficulty(vectors.data() + 4 * i);
    job.classes[i] = math::classOf(job.thresholds.data(), static_cast<int>(job.thresholds.size()), job.difficulties[i]);
  }
}

InferReport CpuDevice::infer(const InferJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  InferReport report;
  const int scale = graph_.scale();
  const std::vector<Source> sources = readPictures(job.pictures, scale, converted_);
  // Regions of one subnet and shape run together; the order of groups, and so every sum, follows from the regions alone.
  std::map<Key, std::vector<const Region*>> groups;
  for (const Region& r : job.regions)
    groups[Key{r.subnet, 0, r.height, r.width, r.keepX - r.x, r.keepY - r.y, r.keepWidth, r.keepHeight, false}]
        .push_back(&r);
  for (const auto& [key, regions] : groups) {
    const int subnet = std::get<0>(key), h = std::get<2>(key), w = std::get<3>(key);
    const Keep keep{std::get<4>(key), std::get<5>(key), std::get<6>(key), std::get<7>(key)};
    const int64_t pixels = int64_t{h} * w;
    const size_t most = static_cast<size_t>(std::max<int64_t>(1, job.maxBatchPixels / pixels));
    for (size_t first = 0; first < regions.size(); first += most) {
      const int batch = static_cast<int>(std::min(most, regions.size() - first));
      Executable& program = executable(subnet, batch, h, w, keep, false);
      const Keep covered = program.program().covered;
      const int64_t outW = int64_t{covered.width} * scale, outH = int64_t{covered.height} * scale;
      float* input = gathered_.reserve(batch * 3 * pixels);
      float* output = produced_.reserve(batch * 3 * outH * outW);
#pragma omp parallel for collapse(2) schedule(static)
      for (int n = 0; n < batch; ++n)
        for (int y = 0; y < h; ++y) {
          const Region& r = *regions[first + static_cast<size_t>(n)];
          const Source& p = sources[static_cast<size_t>(r.picture)];
          const float* from = p.rgb + ((int64_t{r.y} + y) * p.width + r.x) * 3;
          float* to = input + (int64_t{n} * 3 * h + y) * w;
          for (int x = 0; x < w; ++x)
            for (int c = 0; c < 3; ++c) to[c * pixels + x] = from[3 * x + c];
        }
      RunArguments arguments;
      arguments.input = input;
      arguments.output = output;
      arguments.cancel = job.cancel;
      const double before = now();
      program.run(arguments);
      report.networkSeconds += now() - before;
      ++report.batches;
      const SubnetInfo& info = graph_.subnets()[static_cast<size_t>(subnet)];
      report.flops += batch * regionFlops(info, pixels, covered.width, covered.height);
      for (int n = 0; n < batch; ++n) {
        const Region& r = *regions[first + static_cast<size_t>(n)];
        const Source& p = sources[static_cast<size_t>(r.picture)];
        const std::vector<float> wx = ramp(r.keepWidth * scale, r.rampLeft * scale, r.rampRight * scale);
        const std::vector<float> wy = ramp(r.keepHeight * scale, r.rampTop * scale, r.rampBottom * scale);
        const int64_t pictureWidth = int64_t{p.width} * scale;
        const float* from = output + n * 3 * outH * outW +
                            (int64_t{r.keepY - r.y - covered.y} * outW + (r.keepX - r.x - covered.x)) * scale;
#pragma omp parallel for schedule(static)
        for (int y = 0; y < r.keepHeight * scale; ++y) {
          const float* row = from + y * outW;
          const int64_t at = (int64_t{r.keepY} * scale + y) * pictureWidth + int64_t{r.keepX} * scale;
          context_.kernels->blendRow(row, row + outH * outW, row + 2 * outH * outW, wx.data(),
                                     wy[static_cast<size_t>(y)], p.sum + at * 3, p.weight + at,
                                     int64_t{r.keepWidth} * scale);
        }
      }
    }
  }
  report.otherSeconds = now() - start - report.networkSeconds;
  return report;
}

}  // namespace wbsr::cpu

// Inference on the CPU device: routing, the canvas, and which threads run which regions or images.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <queue>

#include "core/error.h"
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

// Images run one per thread, whose cache holds a layer of one image but not of a batch; what is left over, which would
// leave threads without work, is a batch of all threads. The bits are the same.
void CpuDevice::forward(int subnet, const float* input, float* output, int batch, int height, int width) {
  omp_set_num_threads(threads_);
  const int apart = batch / threads_ * threads_, scale = graph_.scale();
  const int64_t in = int64_t{3} * height * width, out = in * scale * scale;
  makeRunners(static_cast<size_t>(std::min(threads_, apart)));
  std::atomic<int> next{0};
  std::mutex lock;
  std::exception_ptr failure;
  const int team = std::min(threads_, apart);
  if (team > 0) {
#pragma omp parallel num_threads(team)
    {
      omp_set_num_threads(1);  // of this thread, as in runApart()
      RegionRunner& runner = runners_[static_cast<size_t>(omp_get_thread_num())]->runner();
      try {
        for (int n = next++; n < apart; n = next++)
          runner.forward(subnet, input + n * in, output + n * out, 1, height, width);
      } catch (...) {
        next = apart;
        const std::lock_guard<std::mutex> hold(lock);
        if (!failure) failure = std::current_exception();
      }
    }
    omp_set_num_threads(threads_);
  }
  if (failure) std::rethrow_exception(failure);
  if (apart < batch) team_.forward(subnet, input + apart * in, output + apart * out, batch - apart, height, width);
}

void CpuDevice::makeRunners(size_t count) {
  while (runners_.size() < count) runners_.push_back(std::make_unique<ThreadRunner>(context_));
}

namespace {

struct RegionJob {
  const Region* region;
  double flops;
};

// FLOPs of the thread that gets the most, where each of `threads` takes the next job once it is free.
double longestShare(const std::vector<RegionJob>& jobs, size_t first, int threads) {
  std::priority_queue<double, std::vector<double>, std::greater<>> busy;
  for (int i = 0; i < threads; ++i) busy.push(0);
  double longest = 0;
  for (size_t i = first; i < jobs.size(); ++i) {
    const double until = busy.top() + jobs[i].flops;
    busy.pop();
    busy.push(until);
    longest = std::max(longest, until);
  }
  return longest;
}

// How many of the first, which are the largest, all threads should run together, since one per thread would leave others
// without work for more than what the barriers between layers cost.
size_t togetherOf(const std::vector<RegionJob>& jobs, int threads) {
  constexpr double kBarriers = 1.15;
  double total = 0;
  for (const RegionJob& job : jobs) total += job.flops;
  size_t first = 0;
  for (; threads > 1 && first < jobs.size(); ++first) {
    if (longestShare(jobs, first, threads) <= kBarriers * total / threads) break;
    total -= jobs[first].flops;
  }
  return first;
}

}  // namespace

// Results are blended in the order of the jobs, whoever made them, so that sums do not depend on the threads.
void CpuDevice::runApart(const std::vector<const Region*>& regions, const std::vector<Source>& sources,
                         const volatile int32_t* cancel) {
  const size_t count = regions.size(), threads = std::min(static_cast<size_t>(threads_), count);
  makeRunners(threads);
  // A thread may be ahead of the oldest job under way by as many results as there is memory for.
  const size_t slots = std::min(threads + 2, count);
  if (results_.size() < slots) results_.resize(slots);
  std::mutex lock;
  std::condition_variable changed;
  std::vector<bool> done(count, false);
  size_t next = 0, blended = 0;
  bool blending = false;
  std::exception_ptr failure;

  const auto work = [&](RegionRunner& runner) {
    std::unique_lock<std::mutex> hold(lock);
    while (next < count && !failure) {
      const size_t job = next++;
      changed.wait(hold, [&] { return job < blended + slots || failure; });
      if (failure) return;
      const Region& region = *regions[job];
      hold.unlock();
      std::exception_ptr error;
      try {
        runner.run(region, sources[static_cast<size_t>(region.picture)], cancel, results_[job % slots]);
      } catch (...) {
        error = std::current_exception();
      }
      hold.lock();
      if (error) {
        if (!failure) failure = error;
        changed.notify_all();
        return;
      }
      done[job] = true;
      if (blending) continue;
      blending = true;
      while (blended < count && done[blended]) {
        const Region& oldest = *regions[blended];
        hold.unlock();
        blend(oldest, results_[blended % slots], sources[static_cast<size_t>(oldest.picture)], graph_.scale(),
              *context_.kernels);
        hold.lock();
        ++blended;
        changed.notify_all();
      }
      blending = false;
    }
  };
  const int team = static_cast<int>(threads);
#pragma omp parallel num_threads(team)
  {
    omp_set_num_threads(1);  // of this thread: oneDNN plans its primitives for as many as there are
    work(runners_[static_cast<size_t>(omp_get_thread_num())]->runner());
  }
  if (failure) std::rethrow_exception(failure);
  WBSR_CHECK(blended == count);
}

InferReport CpuDevice::infer(const InferJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  InferReport report;
  const std::vector<Source> sources = readPictures(job.pictures, graph_.scale(), converted_);
  std::vector<RegionJob> jobs;
  for (const Region& r : job.regions) {
    const SubnetInfo& subnet = graph_.subnets()[static_cast<size_t>(r.subnet)];
    const Keep covered =
        coveredBy(graph_, subnet, r.height, r.width, {r.keepX - r.x, r.keepY - r.y, r.keepWidth, r.keepHeight});
    jobs.push_back({&r, regionFlops(subnet, int64_t{r.height} * r.width, covered.width, covered.height)});
    report.flops += jobs.back().flops;
  }
  std::stable_sort(jobs.begin(), jobs.end(), [](const RegionJob& a, const RegionJob& b) { return a.flops > b.flops; });
  const size_t together = togetherOf(jobs, threads_);
  const double before = now();
  if (together > 0 && results_.empty()) results_.resize(1);
  for (size_t i = 0; i < together; ++i) {
    const Region& region = *jobs[i].region;
    const Source& source = sources[static_cast<size_t>(region.picture)];
    team_.run(region, source, job.cancel, results_[0]);
    blend(region, results_[0], source, graph_.scale(), *context_.kernels);
  }
  std::vector<const Region*> apart;
  for (size_t i = together; i < jobs.size(); ++i) apart.push_back(jobs[i].region);
  if (!apart.empty()) runApart(apart, sources, job.cancel);
  report.networkSeconds = now() - before;
  report.batches = static_cast<int>(jobs.size());
  report.otherSeconds = now() - start - report.networkSeconds;
  return report;
}

}  // namespace wbsr::cpu

#include "cpu/device.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>
#include <tuple>

#include "core/error.h"
#include "cpu/adam.h"
#include "cpu/executable.h"

namespace wbsr::cpu {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Reproducible everywhere, unlike the standard library's distributions.
struct Normal {
  uint64_t state;
  double uniform() {
    state += 0x9E3779B97F4A7C15ull;  // splitmix64
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
  }
  double next() {
    const double radius = std::sqrt(-2 * std::log(uniform()));  // apart: operands have no order of their own
    return radius * std::cos(2 * 3.14159265358979323846 * uniform());
  }
};

// subnet, batch, height, width, kept part, training
using Key = std::tuple<int, int, int, int, int, int, int, int, bool>;

class CpuDevice : public Device {
 public:
  CpuDevice(const Graph& graph, int threads, const std::atomic<bool>* closing)
      : graph_(graph), threads_(threads), context_(graph), adam_(graph), weights_(static_cast<size_t>(graph.parameterCount()), 0.f) {
    context_.closing = closing;
    context_.weights->setMaster(weights_.data());
  }

  void initialise(uint64_t seed) override {
    Normal normal{seed * 0x2545F4914F6CDD1Dull + 0x632BE59BD9B4E019ull};
    for (const Parameter& parameter : graph_.parameters())
      for (int64_t i = 0; i < parameter.count; ++i)
        weights_[static_cast<size_t>(parameter.offset + i)] = parameter.isBias ? 0.f : static_cast<float>(normal.next() * parameter.initStd);
    ema_ = m_ = v_ = gradient_ = {};
    std::fill(adam_.counts.begin(), adam_.counts.end(), 0);
    context_.weights->changed();
  }

  void setArena(Arena which, const float* values) override {
    std::vector<float>& a = arena(which);
    a.assign(values, values + graph_.parameterCount());
    if (which == Arena::Weights) {
      context_.weights->setMaster(a.data());
      context_.weights->changed();
    }
  }

  void getArena(Arena which, float* values) override {
    const std::vector<float>& a = arena(which);
    // Before the first step the average is the weights themselves, moments and gradients are zero.
    if (!a.empty()) std::copy(a.begin(), a.end(), values);
    else if (which == Arena::Ema) std::copy(weights_.begin(), weights_.end(), values);
    else std::fill(values, values + graph_.parameterCount(), 0.f);
  }

  std::vector<int32_t> steps() const override { return adam_.counts; }
  void setSteps(const std::vector<int32_t>& steps) override {
    WBSR_CHECK(steps.size() == adam_.counts.size());
    adam_.counts = steps;
  }

  void forward(int subnet, const float* input, float* output, int batch, int height, int width) override {
    omp_set_num_threads(threads_);
    RunArguments arguments;
    arguments.input = input;
    arguments.output = output;
    executable(subnet, batch, height, width, {}, false).run(arguments);
  }

  InferReport infer(const InferJob& job) override;
  TrainReport train(const TrainJob& job) override;

  int64_t memory() const override {
    const size_t floats = weights_.size() + ema_.size() + m_.size() + v_.size() + gradient_.size();
    return static_cast<int64_t>(floats * sizeof(float)) + context_.bytes() + context_.weights->bytes() +
           gathered_.bytes() + produced_.bytes();
  }

 private:
  std::vector<float>& arena(Arena which) {
    switch (which) {
      case Arena::Ema: return ema_;
      case Arena::M: return m_;
      case Arena::V: return v_;
      case Arena::Gradient: return gradient_;
      default: return weights_;
    }
  }

  Executable& executable(int subnet, int batch, int height, int width, const Keep& keep, bool training);

  const Graph& graph_;
  int threads_;
  Context context_;
  Adam adam_;
  std::vector<float> weights_, ema_, m_, v_, gradient_;
  Buffer gathered_, produced_;  // planar input and output of an inference batch
  struct Cached { std::unique_ptr<Executable> executable; uint64_t used; };
  std::map<Key, Cached> cache_;
  uint64_t clock_ = 0;
};

Executable& CpuDevice::executable(int subnet, int batch, int height, int width, const Keep& keep, bool training) {
  constexpr size_t kMost = 96;  // oneDNN keeps the primitives themselves; these are lists of references to them
  const Key key{subnet, batch, height, width, keep.x, keep.y, keep.width, keep.height, training};
  auto found = cache_.find(key);
  if (found == cache_.end()) {
    if (cache_.size() >= kMost)
      cache_.erase(std::min_element(cache_.begin(), cache_.end(), [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    Program program = lower(graph_, graph_.subnets()[static_cast<size_t>(subnet)], batch, height, width, keep);
    fuse(program);
    if (training) differentiate(program);
    found = cache_.emplace(key, Cached{std::make_unique<Executable>(context_, std::move(program)), 0}).first;
  }
  found->second.used = ++clock_;
  return *found->second.executable;
}

// Weight of every output column (or row) of a kept part: a linear rise over `before` pixels and a fall over `after`.
std::vector<float> ramp(int size, int before, int after) {
  std::vector<float> weight(static_cast<size_t>(size), 1.f);
  for (int i = 0; i < before && i < size; ++i) weight[i] *= (static_cast<float>(i) + 0.5f) / static_cast<float>(before);
  for (int i = 0; i < after && i < size; ++i) weight[size - 1 - i] *= (static_cast<float>(i) + 0.5f) / static_cast<float>(after);
  return weight;
}

InferReport CpuDevice::infer(const InferJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  InferReport report;
  const int scale = graph_.scale();
  // Regions of one subnet and shape run together; the order of groups, and so every sum, follows from the regions alone.
  std::map<Key, std::vector<const Region*>> groups;
  for (const Region& r : job.regions)
    groups[Key{r.subnet, 0, r.height, r.width, r.keepX - r.x, r.keepY - r.y, r.keepWidth, r.keepHeight, false}].push_back(&r);
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
      // Kept between jobs: fresh pages would cost more than what is done with them here.
      float* input = gathered_.reserve(batch * 3 * pixels);
      float* output = produced_.reserve(batch * 3 * outH * outW);
#pragma omp parallel for collapse(2) schedule(static)
      for (int n = 0; n < batch; ++n)
        for (int y = 0; y < h; ++y) {
          const Region& r = *regions[first + static_cast<size_t>(n)];
          const Picture& p = job.pictures[static_cast<size_t>(r.picture)];
          const float* from = p.data + ((int64_t{r.y} + y) * p.width + r.x) * 3;
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
      report.flops += batch * (static_cast<double>(info.flops - info.tailFlops) * static_cast<double>(pixels) +
                               static_cast<double>(info.tailFlops) * covered.width * covered.height) / 1024.0;
      for (int n = 0; n < batch; ++n) {
        const Region& r = *regions[first + static_cast<size_t>(n)];
        const Picture& p = job.pictures[static_cast<size_t>(r.picture)];
        const std::vector<float> wx = ramp(r.keepWidth * scale, r.rampLeft * scale, r.rampRight * scale);
        const std::vector<float> wy = ramp(r.keepHeight * scale, r.rampTop * scale, r.rampBottom * scale);
        const int64_t pictureWidth = int64_t{p.width} * scale;
        const float* from = output + n * 3 * outH * outW +
                            (int64_t{r.keepY - r.y - covered.y} * outW + (r.keepX - r.x - covered.x)) * scale;
#pragma omp parallel for schedule(static)
        for (int y = 0; y < r.keepHeight * scale; ++y) {
          const float* row = from + y * outW;
          const int64_t at = (int64_t{r.keepY} * scale + y) * pictureWidth + int64_t{r.keepX} * scale;
          context_.kernels->blendRow(row, row + outH * outW, row + 2 * outH * outW, wx.data(), wy[static_cast<size_t>(y)],
                                     p.sum + at * 3, p.weight + at, int64_t{r.keepWidth} * scale);
        }
      }
    }
  }
  report.otherSeconds = now() - start - report.networkSeconds;
  return report;
}

TrainReport CpuDevice::train(const TrainJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  const size_t count = weights_.size();
  if (gradient_.empty()) gradient_.assign(count, 0.f);
  else std::fill(gradient_.begin(), gradient_.end(), 0.f);
  if (m_.empty()) m_.assign(count, 0.f);
  if (v_.empty()) v_.assign(count, 0.f);
  if (ema_.empty()) ema_ = weights_;
  context_.gradients = gradient_.data();

  TrainReport report;
  const int scale = graph_.scale();
  std::vector<float> output(static_cast<size_t>(job.batch) * 3 * job.height * job.width * scale * scale);
  std::vector<int> touched(graph_.parameters().size(), -1);
  const double share = 1.0 / static_cast<double>(job.subnets.size());
  for (int subnet : job.subnets) {
    const SubnetInfo& info = graph_.subnets()[static_cast<size_t>(subnet)];
    RunArguments arguments;
    arguments.input = job.lr;
    arguments.output = output.data();
    arguments.target = job.hr;
    arguments.loss = &job.loss;
    arguments.cancel = job.cancel;
    const LossSums loss = executable(subnet, job.batch, job.height, job.width, {}, true).run(arguments);
    report.losses.push_back(loss.loss);
    report.mean.loss += loss.loss * share;
    report.mean.data += loss.data * share;
    report.mean.balance += loss.balance * share;
    report.mean.dataGradient += loss.dataGradient * share;
    report.mean.balanceGradient += loss.balanceGradient * share;
    report.mean.sigmaGradient += loss.sigmaGradient * share;
    const int width = static_cast<int>(std::find(graph_.widths().begin(), graph_.widths().end(), info.width) - graph_.widths().begin());
    std::vector<bool> alive;
    graph_.resolve(info.depth, alive);
    for (size_t p = 0; p < touched.size(); ++p)
      if (alive[static_cast<size_t>(graph_.parameters()[p].node)]) touched[p] = std::max(touched[p], width);
  }
  report.finite = std::isfinite(report.mean.loss);
  if (report.finite) {
    bool finite = true;
#pragma omp parallel for schedule(static) reduction(&& : finite)
    for (size_t i = 0; i < count; ++i) finite = finite && std::isfinite(gradient_[i]);
    report.finite = finite;
  }
  if (report.finite && !job.gradientsOnly) {
    adam_.step(touched, {job.learningRate, job.beta1, job.beta2, job.epsilon, job.weightDecay, job.emaDecay}, weights_.data(), gradient_.data(),
               m_.data(), v_.data(), job.emaDecay > 0 ? ema_.data() : nullptr);
    context_.weights->changed();
  }
  report.seconds = now() - start;
  return report;
}

}  // namespace

std::unique_ptr<Device> makeDevice(const Graph& graph, int threads, const std::atomic<bool>* closing) {
  return std::make_unique<CpuDevice>(graph, threads, closing);
}

static CpuInfo readCpuInfo() {
  CpuInfo info;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) {
      info.name = line.substr(line.find(':') + 2);
      break;
    }
  info.lanes = preferredLanes(dnnl::engine(dnnl::engine::kind::cpu, 0));
  info.isa = simd::kernels(info.lanes).name;
  const dnnl_version_t* version = dnnl_version();
  info.onednn = std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
  return info;
}

const CpuInfo& cpuInfo() {
  static const CpuInfo info = readCpuInfo();  // the machine does not change
  return info;
}

}  // namespace wbsr::cpu

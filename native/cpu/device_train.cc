// Training steps of the CPU device: every subnet of the step forward and backward, then one update.
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "cpu/cpu_device.h"
#include "image/image.h"

namespace wbsr::cpu {

int64_t CpuDevice::submit(const TrainJob& job) {
  TrainReport report = step(job);  // there is nothing here to work on it meanwhile
  std::lock_guard<std::mutex> lock(reportsLock_);
  reports_.emplace(++tickets_, std::move(report));
  return tickets_;
}

TrainReport CpuDevice::wait(int64_t ticket) {
  std::lock_guard<std::mutex> lock(reportsLock_);
  auto node = reports_.extract(ticket);
  WBSR_CHECK(!node.empty());
  return std::move(node.mapped());
}

TrainReport CpuDevice::step(const TrainJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  const int scale = graph_.scale();
  const int64_t inputs = int64_t{3} * job.batch * job.height * job.width;
  const float *lr = job.lr, *hr = job.hr;
  if (job.source) {
    WBSR_CHECK(static_cast<int>(job.source->crops.size()) == job.batch && job.width == job.height);
    float *low = lr_.reserve(inputs), *high = hr_.reserve(inputs * scale * scale);
    image::assembleBatch({job.source->images, job.source->lrImages, job.source->crops, job.width * scale, scale}, low,
                         high);
    lr = low;
    hr = high;
  }
  const size_t count = weights_.size();
  if (gradient_.empty())
    gradient_.assign(count, 0.f);
  else
    std::fill(gradient_.begin(), gradient_.end(), 0.f);
  if (m_.empty()) m_.assign(count, 0.f);
  if (v_.empty()) v_.assign(count, 0.f);
  if (ema_.empty()) ema_ = weights_;
  context_.gradients = gradient_.data();

  TrainReport report;
  std::vector<float> output(static_cast<size_t>(inputs) * scale * scale);
  const double share = 1.0 / static_cast<double>(job.subnets.size());
  for (int subnet : job.subnets) {
    RunArguments arguments;
    arguments.input = lr;
    arguments.output = output.data();
    arguments.target = hr;
    arguments.loss = &job.loss;
    arguments.cancel = job.cancel;
    const LossSums loss = executable(subnet, job.batch, job.height, job.width, {}, true).run(arguments);
    report.losses.push_back(loss.loss);
    report.mean.add(loss, share);
  }
  report.finite = !halted_ && std::isfinite(report.mean.loss);
  if (report.finite) {
    bool finite = true;
#pragma omp parallel for schedule(static) reduction(&& : finite)
    for (size_t i = 0; i < count; ++i) finite = finite && std::isfinite(gradient_[i]);
    report.finite = finite;
  }
  halted_ = !report.finite;
  if (report.finite && !job.gradientsOnly) {
    adam_.step(touchedWidths(graph_, job.subnets),
               {job.learningRate, job.beta1, job.beta2, job.epsilon, job.weightDecay, job.emaDecay}, weights_.data(),
               gradient_.data(), m_.data(), v_.data(), job.emaDecay > 0 ? ema_.data() : nullptr);
    context_.weights->changed();
  }
  report.seconds = now() - start;
  return report;
}

}  // namespace wbsr::cpu

// Training on the CPU device: gradients of every subnet of a step, then the update. Both are done when the call returns;
// reports are kept until they are waited for.
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/math/distill.h"
#include "cpu/cpu_device.h"
#include "image/image.h"

namespace wbsr::cpu {
namespace {

// The report of a ticket, which is given out once.
template <typename Report>
Report extract(std::map<int64_t, Report>& reports, int64_t ticket) {
  auto node = reports.extract(ticket);
  WBSR_CHECK(!node.empty());
  return std::move(node.mapped());
}

}  // namespace

int64_t CpuDevice::gradients(const GradientJob& job) {
  TrainReport report = computeGradients(job);
  std::lock_guard<std::mutex> lock(reportsLock_);
  gradientReports_.emplace(++tickets_, std::move(report));
  return tickets_;
}

TrainReport CpuDevice::waitGradients(int64_t ticket) {
  std::lock_guard<std::mutex> lock(reportsLock_);
  return extract(gradientReports_, ticket);
}

int64_t CpuDevice::apply(const UpdateJob& job) {
  const UpdateReport report = update(job);
  std::lock_guard<std::mutex> lock(reportsLock_);
  updateReports_.emplace(++tickets_, report);
  return tickets_;
}

UpdateReport CpuDevice::waitApply(int64_t ticket) {
  std::lock_guard<std::mutex> lock(reportsLock_);
  return extract(updateReports_, ticket);
}

TrainReport CpuDevice::computeGradients(const GradientJob& job) {
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
  context_.gradients = gradient_.data();

  TrainReport report;
  std::vector<float> output(static_cast<size_t>(inputs) * scale * scale), distilled;
  const double share = 1.0 / static_cast<double>(job.subnets.size());
  for (int subnet : job.subnets) {
    RunArguments arguments;
    arguments.input = lr;
    arguments.output = output.data();
    arguments.target = hr;
    arguments.loss = &job.loss;
    arguments.cancel = job.cancel;
    const LossSums loss = executables_.get(subnet, job.batch, job.height, job.width, {}, true).run(arguments);
    report.losses.push_back(loss.loss);
    report.mean.add(loss, share);
    if (job.distillation > 0 && distilled.empty() && job.subnets.size() > 1) {
      const float part = static_cast<float>(job.distillation);
      distilled.resize(output.size());
      for (size_t i = 0; i < output.size(); ++i) distilled[i] = math::distilledTarget(hr[i], output[i], part);
      hr = distilled.data();
    }
  }
  report.finite = !halted_ && std::isfinite(report.mean.loss) && gradientIsFinite();
  halted_ = !report.finite;
  gradientChecked_ = true;
  report.seconds = now() - start;
  return report;
}

bool CpuDevice::gradientIsFinite() const {
  bool finite = true;
#pragma omp parallel for schedule(static) reduction(&& : finite)
  for (size_t i = 0; i < gradient_.size(); ++i) finite = finite && std::isfinite(gradient_[i]);
  return finite;
}

UpdateReport CpuDevice::update(const UpdateJob& job) {
  omp_set_num_threads(threads_);
  const double start = now();
  const size_t count = weights_.size();
  for (std::vector<float>* arena : {&gradient_, &m_, &v_})
    if (arena->empty()) arena->assign(count, 0.f);
  if (ema_.empty()) ema_ = weights_;
  if (!gradientChecked_ && !gradientIsFinite()) halted_ = true;
  gradientChecked_ = true;
  if (!halted_) {
    const AdamSettings& settings = job.settings;
    adam_.step(touchedWidths(graph_, job.subnets), settings, weights_.data(), gradient_.data(), m_.data(), v_.data(),
               settings.emaDecay > 0 ? ema_.data() : nullptr);
    context_.weights->changed();
  }
  return {!halted_, now() - start};
}

}  // namespace wbsr::cpu

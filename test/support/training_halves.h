// Training in two halves, gradients() and apply(): the same checks for every device.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/math/distill.h"
#include "support/check.h"

namespace wbsr::test {

// make(): a device of `graph` with initial weights. The tolerance is relative to the largest gradient.
inline void checkTrainingHalves(const Graph& graph, const std::function<std::unique_ptr<Device>()>& make,
                                double tolerance, const std::string& name) {
  const int batch = 4, size = 6;
  const size_t parameters = static_cast<size_t>(graph.parameterCount());
  const size_t lrFloats = size_t{3} * batch * size * size, hrFloats = lrFloats * graph.scale() * graph.scale();
  Random random{7};
  std::vector<float> lr(lrFloats), hr(hrFloats);
  for (auto* values : {&lr, &hr})
    for (float& v : *values) v = static_cast<float>(0.5 + 0.5 * random.next());
  const int last = static_cast<int>(graph.subnets().size()) - 1;
  TrainJob job{};
  job.lr = lr.data();
  job.hr = hr.data();
  job.batch = batch;
  job.height = job.width = size;
  job.subnets = {last, 0};
  job.loss.element = ElementLoss::L2;
  // A large epsilon: the step is nearly linear in the gradient, or rounding would decide the sign of a step.
  static_cast<AdamSettings&>(job) = {1e-2f, 0.9f, 0.999f, 1.f, 0.f, 0.9f};
  const UpdateJob update{job.subnets, job};
  const auto arenaOf = [&](Device& device, Arena which) {
    std::vector<float> values(parameters);
    device.getArena(which, values.data());
    return values;
  };
  const auto gradients = [&](Device& device, const GradientJob& of) {
    const TrainReport report = device.waitGradients(device.gradients(of));
    check(report.finite, name + ": finite gradients");
    return arenaOf(device, Arena::Gradient);
  };

  // Three steps: at once, and in halves with the gradients on the host between them.
  const auto whole = make(), halves = make();
  for (int step = 0; step < 3; ++step) {
    const double loss = whole->train(job).mean.loss;
    const TrainReport report = halves->waitGradients(halves->gradients(job));
    check(report.mean.loss == loss && report.losses.size() == 2, name + ": loss of a step in halves");
    const std::vector<float> gradient = arenaOf(*halves, Arena::Gradient);
    halves->setArena(Arena::Gradient, gradient.data());
    check(halves->waitApply(halves->apply(update)).finite, name + ": update");
  }
  for (const Arena which : {Arena::Weights, Arena::Ema, Arena::M, Arena::V})
    check(arenaOf(*whole, which) == arenaOf(*halves, which), name + ": gradients() + apply() is train(), to the bit");
  check(whole->steps() == halves->steps(), name + ": step counts in halves");

  // Two halves of a batch, averaged: what two machines do.
  const auto single = make(), first = make();
  const std::vector<float> expected = gradients(*single, job);
  GradientJob part = job;
  part.batch = batch / 2;
  std::vector<float> sum = gradients(*first, part);
  part.lr += lrFloats / 2;
  part.hr += hrFloats / 2;
  const std::vector<float> other = gradients(*first, part);
  for (size_t i = 0; i < parameters; ++i) sum[i] = (sum[i] + other[i]) / 2;
  const auto worst = [](const std::vector<float>& a, const std::vector<float>& b) {
    double difference = 0, largest = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference = std::max(difference, std::fabs(double{a[i]} - b[i]));
      largest = std::max(largest, std::fabs(double{a[i]}));
    }
    return difference / largest;
  };
  const double gap = worst(expected, sum);
  check(gap < tolerance, name + ": gradients of two half batches, " + std::to_string(gap));
  check(sum != other, name + ": the halves of the batch differ");
  first->setArena(Arena::Gradient, sum.data());
  const std::vector<float> before = arenaOf(*first, Arena::Weights);
  first->waitApply(first->apply(update));
  single->waitApply(single->apply(update));
  std::vector<float> moved = arenaOf(*single, Arena::Weights), movedByHalves = arenaOf(*first, Arena::Weights);
  for (size_t i = 0; i < parameters; ++i) moved[i] -= before[i], movedByHalves[i] -= before[i];
  const double movedGap = worst(moved, movedByHalves);
  // Weights near 1 lose digits of a step of 1e-2 x gradient.
  check(movedGap < tolerance + 1e-3, name + ": a step of two half batches, " + std::to_string(movedGap));

  // Distillation: the others aim at a mixture with the first one's output, through which no gradient passes.
  const auto teacher = make(), student = make(), both = make();
  GradientJob alone = job;
  alone.subnets = {last};
  const std::vector<float> ofTeacher = gradients(*teacher, alone);
  std::vector<float> output(hrFloats), mixed(hrFloats);
  teacher->forward(last, lr.data(), output.data(), batch, size, size);
  for (size_t i = 0; i < hrFloats; ++i) mixed[i] = math::distilledTarget(hr[i], output[i], 0.75f);
  alone.subnets = {0};
  alone.hr = mixed.data();
  std::vector<float> separately = gradients(*student, alone);
  for (size_t i = 0; i < parameters; ++i) separately[i] += ofTeacher[i];
  GradientJob together = job;
  together.distillation = 0.75;
  const double distilledGap = worst(separately, gradients(*both, together));
  check(distilledGap < tolerance, name + ": gradients with distillation, " + std::to_string(distilledGap));
  check(worst(separately, expected) > 10 * tolerance, name + ": which differ from those without");

  // A gradient from outside that is not finite updates nothing, nor does any step after it until weights are set; and the
  // same gradient is refused again.
  const std::vector<float> kept = arenaOf(*single, Arena::Weights);
  const std::vector<int32_t> counts = single->steps();
  std::vector<float> broken = expected;
  broken[parameters / 2] = std::numeric_limits<float>::quiet_NaN();
  single->setArena(Arena::Gradient, broken.data());
  check(!single->waitApply(single->apply(update)).finite, name + ": a gradient that is not finite");
  check(!single->train(job).finite, name + ": the step after it");
  check(arenaOf(*single, Arena::Weights) == kept && single->steps() == counts, name + ": weights and counts are kept");
  single->setArena(Arena::Gradient, broken.data());
  single->setArena(Arena::Weights, kept.data());
  check(!single->waitApply(single->apply(update)).finite, name + ": the same gradient again");
  single->setArena(Arena::Weights, kept.data());
  check(single->train(job).finite, name + ": a good step after weights were set");
  check(arenaOf(*single, Arena::Weights) != kept, name + ": which updates them");
}

}  // namespace wbsr::test

// A device against the plain interpreter (reference.h): outputs, and gradients against finite differences.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "support/check.h"
#include "support/graphs.h"
#include "support/reference.h"

namespace wbsr::test {

using MakeDevice = std::function<std::unique_ptr<Device>(const Graph& graph, int threads)>;

// Outputs of every subnet, and that they are the same for one thread and two.
inline void forwardAgrees(const MakeDevice& make, const Graph& graph, const std::string& name, int batch, int h,
                          int w) {
  const std::vector<double> parameters = graphs::randomParameters(graph, 7);
  auto device = make(graph, 2), single = make(graph, 1);
  for (Device* d : {device.get(), single.get()}) d->setArena(Arena::Weights, graphs::toFloat(parameters).data());
  Random random{11};
  const size_t plane = static_cast<size_t>(3) * h * w, area = static_cast<size_t>(graph.scale()) * graph.scale();
  std::vector<float> input(plane * batch), output(plane * batch * area), other(output.size());
  for (float& v : input) v = static_cast<float>(random.next() * 0.5 + 0.5);
  for (const SubnetInfo& subnet : graph.subnets()) {
    device->forward(subnet.index, input.data(), output.data(), batch, h, w);
    single->forward(subnet.index, input.data(), other.data(), batch, h, w);
    double worst = 0, threadGap = 0;
    for (size_t i = 0; i < output.size(); ++i)
      threadGap = std::max(threadGap, static_cast<double>(std::fabs(output[i] - other[i])));
    check(threadGap < 1e-6, name + " forward agrees between 1 and 2 threads: " + std::to_string(threadGap));
    for (int n = 0; n < batch; ++n) {
      Image image = Image::of(3, h, w);
      for (size_t i = 0; i < plane; ++i) image.v[i] = input[n * plane + i];
      const Image expected = interpret(graph, subnet.width, subnet.depth, parameters, image);
      for (size_t i = 0; i < expected.v.size(); ++i)
        worst =
            std::max(worst, std::fabs(expected.v[i] - output[n * plane * area + i]) / (1 + std::fabs(expected.v[i])));
    }
    check(worst < 5e-5, name + " forward " + std::to_string(subnet.width) + "x" + std::to_string(subnet.depth) +
                            " at " + std::to_string(batch) + "x" + std::to_string(h) + "x" + std::to_string(w) + ": " +
                            std::to_string(worst));
  }
}

inline double referenceLoss(const Graph& graph, const SubnetInfo& subnet, const std::vector<double>& parameters,
                            const std::vector<Image>& inputs, const std::vector<Image>& targets) {
  double sum = 0;
  size_t count = 0;
  for (size_t n = 0; n < inputs.size(); ++n) {
    const Image out = interpret(graph, subnet.width, subnet.depth, parameters, inputs[n]);
    for (size_t i = 0; i < out.v.size(); ++i) sum += (out.v[i] - targets[n].v[i]) * (out.v[i] - targets[n].v[i]);
    count += out.v.size();
  }
  return sum / static_cast<double>(count);
}

// Gradients of a few entries of every parameter against finite differences of the interpreter, with one thread and two.
inline void gradientsAgree(const MakeDevice& make, const Graph& graph, const std::string& name, int batch, int h, int w,
                           std::vector<int> subnets) {
  std::vector<double> parameters = graphs::randomParameters(graph, 3);
  Random random{5};
  std::vector<Image> inputs, targets;
  std::vector<float> lr, hr;
  for (int n = 0; n < batch; ++n) {
    inputs.push_back(Image::of(3, h, w));
    targets.push_back(Image::of(3, h * graph.scale(), w * graph.scale()));
    for (double& v : inputs.back().v)
      lr.push_back(static_cast<float>(v = static_cast<float>(random.next() * 0.5 + 0.5)));
    for (double& v : targets.back().v)
      hr.push_back(static_cast<float>(v = static_cast<float>(random.next() * 0.5 + 0.5)));
  }
  for (int subnet : subnets) {
    const SubnetInfo& info = graph.subnets()[subnet];
    std::vector<float> gradient(static_cast<size_t>(graph.parameterCount())), other(gradient.size());
    for (int threads : {1, 2}) {
      auto device = make(graph, threads);
      device->setArena(Arena::Weights, graphs::toFloat(parameters).data());
      TrainJob job{};
      job.lr = lr.data();
      job.hr = hr.data();
      job.batch = batch;
      job.height = h;
      job.width = w;
      job.subnets = {subnet};
      job.loss.element = ElementLoss::L2;
      const TrainReport report = device->waitGradients(device->gradients(job));
      const double expected = referenceLoss(graph, info, parameters, inputs, targets);
      check(std::fabs(report.mean.loss - expected) < 1e-5 * (1 + expected), name + " loss");
      device->getArena(Arena::Gradient, threads == 1 ? gradient.data() : other.data());
    }
    double largest = 0, threadGap = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      largest = std::max(largest, static_cast<double>(std::fabs(gradient[i])));
      threadGap = std::max(threadGap, static_cast<double>(std::fabs(gradient[i] - other[i])));
    }
    check(largest > 0, name + " gradients are not all zero");
    check(threadGap <= 2e-5 * largest,
          name + " gradients agree between 1 and 2 threads: " + std::to_string(threadGap / largest));
    // A few entries of every parameter tensor, first and last rows included.
    for (const Parameter& p : graph.parameters()) {
      for (int k = 0; k < 6; ++k) {
        const int64_t at =
            p.offset + (k == 0   ? 0
                        : k == 1 ? p.count - 1
                                 : static_cast<int64_t>((random.next() * 0.5 + 0.5) * static_cast<double>(p.count)));
        const double keep = parameters[at], step = 1e-7;
        parameters[at] = keep + step;
        const double up = referenceLoss(graph, info, parameters, inputs, targets);
        parameters[at] = keep - step;
        const double down = referenceLoss(graph, info, parameters, inputs, targets);
        parameters[at] = keep;
        const double numeric = (up - down) / (2 * step);
        check(std::fabs(numeric - gradient[at]) <= 2e-3 * std::fabs(numeric) + 2e-4 * largest,
              name + " " + std::to_string(info.width) + "x" + std::to_string(info.depth) + " d/d" + p.name + "[" +
                  std::to_string(at - p.offset) + "] = " + std::to_string(gradient[at]) + ", finite difference " +
                  std::to_string(numeric));
      }
    }
  }
}

}  // namespace wbsr::test

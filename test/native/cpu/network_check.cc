// The CPU device against the plain interpreter: forward of every operator at awkward shapes and at several subnets,
// gradients of every parameter kind against finite differences of the interpreter, tiles against whole images,
// thread counts against each other. Prints what failed; exits 1 if anything did.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>

#include "support/check.h"
#include "core/device.h"
#include "core/error.h"
#include "cpu/device.h"
#include "support/graphs.h"
#include "support/agreement.h"
#include "support/reference.h"

using namespace wbsr;
using test::check;
using test::Image;
using test::Random;
using namespace test::graphs;
using test::forwardAgrees;
using test::gradientsAgree;

namespace {

std::unique_ptr<Device> cpuDevice(const Graph& graph, int threads) { return cpu::makeDevice(graph, threads, nullptr); }

// `build` writes a graph and returns its output.
void refused(const std::string& what, int scale, const std::function<int(Builder&)>& build,
             std::vector<int> depths = {1}) {
  try {
    Builder b;
    const int output = build(b);
    const Graph graph(scale, {16}, depths, b.nodes, output);
    check(false, what + " is refused");
  } catch (const Error& error) {
    check(error.code == "WBSR_INVALID_OPTION", what + " is refused as an option");
  }
}

// Graphs that a model file may hold and that no device could run in the memory it is given.
void nonsenseIsRefused() {
  refused("the input as output", 1, [](Builder& b) { return b.input(); });
  refused("the input as output at depth 0", 1,
          [](Builder& b) {
            const int image = b.input();
            return b.stack({image, b.conv(image, fixed(3))});
          },
          {0, 1});
  refused("a grey input", 1, [](Builder& b) { return b.conv(b.input(1), fixed(3)); });
  refused("2^34 channels", 1, [](Builder& b) { return b.conv(b.conv(b.input(), width(1 << 30)), fixed(3)); });
  refused("an enlargement by 8^12", 1, [](Builder& b) {
    const int out = b.conv(b.input(), fixed(3));
    int x = out;
    for (int i = 0; i < 12; ++i) x = b.upsample(x, 8);
    return out;
  });
}

// A region with a halo of the receptive field gives the pixels of the whole image, crops and blending included.
void tilesAgree(const Graph& graph) {
  const int scale = graph.scale();
  auto device = cpu::makeDevice(graph, 2, nullptr);
  device->setArena(Arena::Weights, toFloat(randomParameters(graph, 9)).data());
  const int w = 45, h = 33;
  Random random{13};
  std::vector<float> picture(static_cast<size_t>(w) * h * 3), planar(picture.size()),
      whole(picture.size() * scale * scale);
  for (float& v : picture) v = static_cast<float>(random.next() * 0.5 + 0.5);
  for (int c = 0; c < 3; ++c)
    for (int i = 0; i < w * h; ++i)
      planar[static_cast<size_t>(c) * w * h + i] = picture[static_cast<size_t>(i) * 3 + c];
  for (const SubnetInfo& subnet : graph.subnets()) {
    device->forward(subnet.index, planar.data(), whole.data(), 1, h, w);
    for (int64_t batchPixels : {int64_t{1}, int64_t{100000}}) {
      std::vector<float> sum(whole.size(), 0.f), weight(whole.size() / 3, 0.f);
      InferJob job;
      job.pictures.push_back({View{picture.data(), Sample::F32, w, h, 3}, nullptr, sum.data(), weight.data()});
      job.maxBatchPixels = batchPixels;
      const int tile = 11, halo = subnet.receptiveField, overlap = 2;
      for (int y = 0; y < h; y += tile)
        for (int x = 0; x < w; x += tile) {
          const int left = std::max(0, x - overlap), top = std::max(0, y - overlap);
          const int right = std::min(w, x + tile + overlap), bottom = std::min(h, y + tile + overlap);
          const int l = std::max(0, left - halo), t = std::max(0, top - halo), r = std::min(w, right + halo),
                    b = std::min(h, bottom + halo);
          job.regions.push_back({0, subnet.index, l, t, r - l, b - t, left, top, right - left, bottom - top,
                                 x > 0 ? 2 * overlap : 0, y > 0 ? 2 * overlap : 0, right < w ? 2 * overlap : 0,
                                 bottom < h ? 2 * overlap : 0});
        }
      device->infer(job);
      double worst = 0, least = 1e9;
      for (size_t i = 0; i < weight.size(); ++i) {
        least = std::min(least, static_cast<double>(weight[i]));
        for (int c = 0; c < 3; ++c)
          worst = std::max(worst, static_cast<double>(std::fabs(sum[i * 3 + c] / weight[i] -
                                                                whole[static_cast<size_t>(c) * weight.size() + i])));
      }
      check(least > 0, "tiles cover the picture");
      check(worst < 2e-5, "tiles equal the whole image at x" + std::to_string(scale) + ": " + std::to_string(worst));
    }
  }
}

// The same image gives the same bits alone and in any batch.
void batchesAgree() {
  const Graph graph = srresnet(2, {32, 48, 64}, {1, 2});
  auto device = cpu::makeDevice(graph, 2, nullptr);
  device->setArena(Arena::Weights, toFloat(randomParameters(graph, 31)).data());
  for (int side : {7, 32, 76}) {
    const size_t plane = static_cast<size_t>(3) * side * side;
    Random random{17};
    std::vector<float> one(plane), alone(plane * 4);
    for (float& v : one) v = static_cast<float>(random.next() * 0.5 + 0.5);
    for (const SubnetInfo& subnet : graph.subnets()) {
      device->forward(subnet.index, one.data(), alone.data(), 1, side, side);
      for (int batch : {2, 5, 16}) {
        std::vector<float> input, output(alone.size() * static_cast<size_t>(batch));
        for (int n = 0; n < batch; ++n) input.insert(input.end(), one.begin(), one.end());
        device->forward(subnet.index, input.data(), output.data(), batch, side, side);
        bool equal = true;
        for (int n = 0; n < batch; ++n)
          equal = equal && std::memcmp(output.data() + static_cast<size_t>(n) * alone.size(), alone.data(),
                                       alone.size() * 4) == 0;
        check(equal, "an image of " + std::to_string(side) + " alone and in a batch of " + std::to_string(batch) +
                         ", width " + std::to_string(subnet.width));
      }
    }
  }
}

// What a device had before and after three steps of Adam.
struct Steps {
  std::vector<std::vector<float>> gradients;  // of each step
  std::vector<float> weights;                 // at the end
};

Steps threeSteps(const Graph& graph, const std::vector<float>& start, const std::vector<int>& subnets, int threads) {
  Random random{23};
  std::vector<float> lr(2 * 3 * 9 * 7), hr(lr.size() * 4);
  for (float& v : lr) v = static_cast<float>(random.next());
  for (float& v : hr) v = static_cast<float>(random.next());
  auto device = cpu::makeDevice(graph, threads, nullptr);
  device->setArena(Arena::Weights, start.data());
  TrainJob job{};
  job.lr = lr.data();
  job.hr = hr.data();
  job.batch = 2;
  job.height = 9;
  job.width = 7;
  job.subnets = subnets;
  job.loss.element = ElementLoss::L2;
  job.learningRate = 1e-3f;
  job.beta1 = 0.9f;
  job.beta2 = 0.999f;
  job.epsilon = 1e-8f;
  job.emaDecay = 0.5f;
  Steps steps;
  for (int i = 0; i < 3; ++i) {
    device->train(job);
    steps.gradients.emplace_back(start.size());
    device->getArena(Arena::Gradient, steps.gradients.back().data());
  }
  steps.weights.resize(start.size());
  device->getArena(Arena::Weights, steps.weights.data());
  return steps;
}

// Adam's definition in double precision over the device's own gradients: nothing but float's rounding is between them.
// lr m^ / sqrt(v^) is rounded a few times per step, the weight once.
void followsAdam(const std::vector<float>& start, const Steps& steps, const std::string& name) {
  const double beta1 = static_cast<double>(0.9f), beta2 = static_cast<double>(0.999f);
  double worst = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    double w = start[i], m = 0, v = 0;
    for (int t = 1; t <= 3; ++t) {
      const double g = steps.gradients[static_cast<size_t>(t - 1)][i];
      m = beta1 * m + (1 - beta1) * g;
      v = beta2 * v + (1 - beta2) * g * g;
      w -= 1e-3 * (m / (1 - std::pow(beta1, t))) / (std::sqrt(v / (1 - std::pow(beta2, t))) + 1e-8);
    }
    const double bound = 3 * (1e-3 * 1e-6 + 6e-8 * (std::fabs(w) + 3e-3));
    worst = std::max(worst, std::fabs(steps.weights[i] - w) / bound);
  }
  check(worst <= 1, name + " follows Adam's definition: " + std::to_string(worst) + " of the bound");
}

void sharedStepAgrees() {
  const Graph graph = srresnet(2, {8, 16}, {1, 2});
  const std::vector<float> start = toFloat(randomParameters(graph, 21));
  const Steps one = threeSteps(graph, start, {0, 3}, 1), two = threeSteps(graph, start, {0, 3}, 2),
              again = threeSteps(graph, start, {0, 3}, 2);
  check(std::memcmp(two.weights.data(), again.weights.data(), start.size() * 4) == 0,
        "two equal runs give equal weights");
  followsAdam(start, one, "one thread");
  followsAdam(start, two, "two threads");
  // Gradients of one and two threads differ by d = 2e-5 of the largest at most (gradientsAgree). A step moves a weight by
  // lr m^ / sqrt(v^), which a change d of the gradients g moves by at most about 2 lr d / |g|. The steps of weights whose
  // gradient is below a thousandth of the largest have the signs of rounding errors and are left out.
  std::vector<double> most(one.gradients.size(), 0.0);
  for (size_t t = 0; t < most.size(); ++t)
    for (float g : one.gradients[t]) most[t] = std::max(most[t], static_cast<double>(std::fabs(g)));
  double worst = 0;
  size_t compared = 0;
  for (size_t i = 0; i < start.size(); ++i) {
    double bound = 0;
    bool clear = true;
    for (size_t t = 0; t < most.size(); ++t) {
      const double share = std::fabs(one.gradients[t][i]) / most[t];
      clear = clear && share > 1e-3;
      bound += 2 * 1e-3 * 2e-5 / std::max(share, 1e-3);
    }
    if (!clear) continue;
    ++compared;
    worst = std::max(worst, std::fabs(one.weights[i] - two.weights[i]) / bound);
  }
  check(compared > start.size() / 5,
        "enough weights have a clear gradient: " + std::to_string(compared) + " of " + std::to_string(start.size()));
  check(worst < 1, "training agrees between 1 and 2 threads: " + std::to_string(worst) + " of the bound");
  // A single small subnet leaves everything outside its slice alone.
  const std::vector<float> small = threeSteps(graph, start, {0}, 2).weights;
  const std::vector<int> at8 = graph.channels(8);
  std::vector<bool> alive;
  graph.resolve(1, alive);
  for (const Parameter& p : graph.parameters())
    for (int64_t i = 0; i < p.count; ++i) {
      const int64_t row = p.count / p.shape[0], o = i / row;
      const bool bias = p.shape.size() == 1;
      const int in = bias ? 0 : static_cast<int>(i % row / (p.shape[2] * p.shape[3]));
      const bool inside = alive[p.node] && o < at8[p.node] && (bias || in < at8[graph.nodes()[p.node].inputs[0]]);
      if (!inside) check(small[p.offset + i] == start[p.offset + i], p.name + " outside the subnet is untouched");
    }
}

}  // namespace

int main() {
  try {
    for (int scale : {2, 3, 4}) {
      const Graph graph = srresnet(scale, {12, 16, 36}, {1, 2});
      forwardAgrees(cpuDevice, graph, "srresnet x" + std::to_string(scale), 2, 13, 9);
      forwardAgrees(cpuDevice, graph, "srresnet x" + std::to_string(scale), 1, 1, 1);
      forwardAgrees(cpuDevice, graph, "srresnet x" + std::to_string(scale), 1, 1, 7);
    }
    forwardAgrees(cpuDevice, everything(), "every operator", 3, 11, 8);
    forwardAgrees(cpuDevice, everything(), "every operator", 1, 2, 1);
    gradientsAgree(cpuDevice, everything(), "every operator", 2, 6, 5, {0, 3});
    gradientsAgree(cpuDevice, srresnet(4, {5, 16}, {1, 2}), "srresnet x4", 1, 5, 4, {0, 1, 3});
    gradientsAgree(cpuDevice, srresnet(3, {8, 12}, {1}), "srresnet x3", 2, 4, 3, {1});
    for (const Graph& graph : {narrow(), sameSize(), readTwice()}) {
      forwardAgrees(cpuDevice, graph, "odd graph", 2, 9, 14);
      gradientsAgree(cpuDevice, graph, "odd graph", 1, 3, 4, {0});
      tilesAgree(graph);
    }
    gradientsAgree(cpuDevice, readTwice(), "a convolution read twice", 1, 2, 3, {1});
    nonsenseIsRefused();
    batchesAgree();
    for (int scale : {2, 4}) tilesAgree(srresnet(scale, {16, 24}, {1, 2}));
    sharedStepAgrees();
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return test::finish();
}

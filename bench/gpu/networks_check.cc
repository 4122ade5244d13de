// The real networks against the CPU device: every subnet of SRResNet, the ends of RCAN's family, whole-network gradients,
// ten sandwich steps with BDLoss, the same bits in a second run. Larger than the ordinary native checks may be; run by
// bench/gpu.sh. Argument `small`: narrow networks, for a run on the host.
#include <thread>

#include "support/cuda_device.h"
#include "support/networks.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

const char* labelOf(Precision p) { return p == Precision::Bf16 ? " bf16" : p == Precision::Tf32 ? " tf32" : " fp32"; }
// Root of the mean squared difference over that of the expected values. bf16 rounds every value between layers to 8 bits
// (2e-3 each), which dozens of layers add up; tf32 rounds the products' operands to 11.
double tolerance(Precision precision) {
  return precision == Precision::Fp32 ? 1e-4 : precision == Precision::Tf32 ? 4e-3 : 3e-2;
}

int threads() { return static_cast<int>(std::max(1u, std::min(16u, std::thread::hardware_concurrency()))); }

Pair pairOf(const Graph& graph, Precision precision) {
  const std::vector<float> weights = networks::timingWeights(graph, 1);
  Pair pair{cpu::makeDevice(graph, threads(), nullptr), makeCuda(graph, precision, weights)};
  pair.cpu->setArena(Arena::Weights, weights.data());
  return pair;
}

void forwardAgrees(const Graph& graph, const std::string& name, const std::vector<int>& subnets, Precision precision) {
  const Pair pair = pairOf(graph, precision);
  const int batch = 2, h = 21, w = 17;
  const std::vector<float> input = noise(size_t{3} * batch * h * w, 1);
  for (int subnet : subnets) {
    std::vector<float> expected(input.size() * 16), actual(expected.size()), again(expected.size());
    pair.cpu->forward(subnet, input.data(), expected.data(), batch, h, w);
    pair.cuda->forward(subnet, input.data(), actual.data(), batch, h, w);
    const SubnetInfo& s = graph.subnets()[static_cast<size_t>(subnet)];
    const std::string what = name + " " + std::to_string(s.width) + "x" + std::to_string(s.depth) + labelOf(precision);
    const double error = rmsGap(actual, expected);
    std::printf("%s forward: %.2e\n", what.c_str(), error);
    check(error < tolerance(precision), what + " forward: " + std::to_string(error));
    for (int run = 0; run < 3; ++run) pair.cuda->forward(subnet, input.data(), again.data(), batch, h, w);
    check(sameBits(actual, again), what + ": the same bits in every run");
  }
}

void gradientsAgree(const Graph& graph, const std::string& name, int subnet, Precision precision) {
  const Pair pair = pairOf(graph, precision);
  const int batch = 2, h = 16, w = 12;
  const std::vector<float> lr = noise(size_t{3} * batch * h * w, 3), hr = noise(lr.size() * 16, 4);
  TrainJob job = stepJob(lr, hr, batch, h, w, {subnet});
  job.loss = balancedLoss(1, ElementLoss::L2);  // smooth: no gradient turns on the sign of a rounding
  std::vector<float> expected(static_cast<size_t>(graph.parameterCount())), actual(expected.size());
  for (Device* device : {pair.cpu.get(), pair.cuda.get()}) device->waitGradients(device->gradients(job));
  pair.cpu->getArena(Arena::Gradient, expected.data());
  pair.cuda->getArena(Arena::Gradient, actual.data());
  const double error = rmsGap(actual, expected);
  std::printf("%s%s gradients: %.2e\n", name.c_str(), labelOf(precision), error);
  check(error < 2 * tolerance(precision), name + labelOf(precision) + " gradients: " + std::to_string(error));
}

void tenSteps(const Graph& graph, Precision precision) {
  const int last = static_cast<int>(graph.subnets().size()) - 1;
  std::vector<std::vector<double>> losses;
  std::vector<std::vector<float>> weights;
  const Pair pair = pairOf(graph, precision), second = pairOf(graph, precision);
  for (Device* device : {pair.cpu.get(), pair.cuda.get(), second.cuda.get()}) {
    std::vector<double> own;
    for (int step = 0; step < 10; ++step) {
      const std::vector<float> lr = noise(size_t{3} * 2 * 12 * 12, 100 + step), hr = noise(lr.size() * 16, 200 + step);
      TrainJob job = stepJob(lr, hr, 2, 12, 12, {last, 0, last / 2});
      job.loss = balancedLoss(1, ElementLoss::L1);
      job.learningRate = 1e-4f;
      own.push_back(device->train(job).mean.loss);
    }
    losses.push_back(own);
    weights.emplace_back(static_cast<size_t>(graph.parameterCount()));
    device->getArena(Arena::Weights, weights.back().data());
  }
  for (size_t i = 0; i < 10; ++i) {
    const double gap = std::fabs(losses[1][i] - losses[0][i]) / (std::fabs(losses[0][i]) + 1e-3);
    std::printf("step %zu%s: loss %.6f, CPU %.6f\n", i + 1, labelOf(precision), losses[1][i], losses[0][i]);
    const std::string what = "loss of step " + std::to_string(i + 1) + labelOf(precision);
    const double most = precision == Precision::Fp32 ? 1e-3 : 2e-2;
    check(gap < most, what + ": " + std::to_string(losses[1][i]) + " for " + std::to_string(losses[0][i]));
  }
  check(losses[1] == losses[2] && sameBits(weights[1], weights[2]),
        std::string("ten steps twice give the same bits") + labelOf(precision));
}

}  // namespace

int main(int count, char** arguments) {
  prepareDevice();
  const bool small = count > 1 && std::string(arguments[1]) == "small";
  const std::vector<int> widths = small ? std::vector<int>{8, 12, 16} : std::vector<int>{36, 52, 64};
  try {
    const Graph srresnet = networks::srresnet(4, widths, small ? std::vector<int>{1, 2} : std::vector<int>{4, 8, 16});
    std::vector<int> all(srresnet.subnets().size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    const int last = all.back();
    for (Precision precision : {Precision::Fp32, Precision::Tf32, Precision::Bf16}) {
      forwardAgrees(srresnet, "SRResNet", precision == Precision::Bf16 ? all : std::vector<int>{0, last}, precision);
      gradientsAgree(srresnet, "SRResNet", last, precision);
    }
    tenSteps(srresnet, Precision::Fp32);
    tenSteps(srresnet, Precision::Bf16);
    const Graph rcan = small ? networks::rcan(4, {16, 32}, {1, 2}, 2) : networks::rcan(4, {36, 52, 64}, {5, 10, 20});
    const int largest = static_cast<int>(rcan.subnets().size()) - 1;
    for (Precision precision : {Precision::Fp32, Precision::Bf16}) {
      forwardAgrees(rcan, "RCAN", {0, largest}, precision);
      gradientsAgree(rcan, "RCAN", largest, precision);
    }
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

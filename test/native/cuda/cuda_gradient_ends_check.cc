// What the CUDA device joins with the convolutions that compute data gradients (native/cuda/program/gradient_ends.h): which
// steps are left, what they compute, and how many launches that saves. Whole networks: cuda_network_check.
#include <algorithm>

#include "core/operators/activation.h"
#include "core/operators/add.h"
#include "core/operators/conv.h"
#include "cuda/program/gradient_ends.h"
#include "cuda/registry.h"
#include "support/cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

struct Backward {
  Program before, after;
};

Backward backwardOf(const Graph& graph, int subnet) {
  Program program = lowerCovered(graph, graph.subnets()[static_cast<size_t>(subnet)], 2, 6, 8, {0, 0, 8, 6});
  fuse(program, cuda::supports, true);
  differentiate(program);
  Backward made{program, program};
  cuda::fuseGradientEnds(made.after);
  return made;
}

int countOf(const Program& program, StepKind kind) {
  return static_cast<int>(std::count_if(program.steps.begin() + program.forwardSteps, program.steps.end(),
                                        [&](const Step& step) { return step.kind == kind; }));
}

// Of data gradients: how many have a residual, a gate, both.
struct Ends {
  int residuals = 0, gates = 0, both = 0;
  explicit Ends(const Program& program) {
    for (const Step& step : program.steps) {
      if (step.kind != operators::Conv::kBackwardData) continue;
      residuals += step.residual >= 0;
      gates += step.in.size() > 1;
      both += step.residual >= 0 && step.in.size() > 1;
    }
  }
};

// Each value is written before it is read, by one step.
void checkOrder(const Program& program, const std::string& name) {
  std::vector<bool> written(program.values.size(), false);
  written[static_cast<size_t>(program.input)] = true;
  const auto there = [&](int value) { return value < 0 || written[static_cast<size_t>(value)]; };
  bool ordered = true;
  for (const Step& step : program.steps) {
    ordered = ordered && there(step.residual) && std::all_of(step.in.begin(), step.in.end(), there);
    if (step.out < 0) continue;
    ordered = ordered && !written[static_cast<size_t>(step.out)];
    written[static_cast<size_t>(step.out)] = true;
  }
  check(ordered, name + ": values are there before they are read");
}

// A value that two convolutions read.
Graph forked() {
  Builder b;
  const int image = b.input();
  const int x = b.conv(image, width());
  const int sum = b.add(b.conv(x, width()), b.relu(b.conv(x, width())));
  return Graph(1, {8}, {1}, b.nodes, b.add(b.conv(sum, fixed(3)), image));
}

void checkSteps() {
  using operators::Activation;
  using operators::Add;
  const Backward deep = backwardOf(srresnet(2, {8, 16}, {1, 3}), 3);
  check(countOf(deep.before, Add::kKind) == 3 && countOf(deep.after, Add::kKind) == 0,
        "each block's skip is added by a convolution: " + std::to_string(countOf(deep.after, Add::kKind)) + " of " +
            std::to_string(countOf(deep.before, Add::kKind)) + " additions are left");
  check(countOf(deep.after, Activation::kBackward) < countOf(deep.before, Activation::kBackward), "and gates");
  const Ends ends(deep.after);
  check(ends.residuals == 3 && ends.gates >= 4 && ends.both == 1,
        "the first convolution's relu takes a sum: " + std::to_string(ends.residuals) + ", " +
            std::to_string(ends.gates) + ", " + std::to_string(ends.both));
  checkOrder(deep.after, "srresnet");
  // The second of two data gradients adds the first.
  const Backward two = backwardOf(forked(), 0);
  check(countOf(two.before, Add::kKind) == 1 && countOf(two.after, Add::kKind) == 0, "sums of two data gradients");
  // What is there only after the data gradient cannot be its addend.
  const Backward late = backwardOf(readTwice(), 1);
  check(countOf(late.before, Add::kKind) == 1 && countOf(late.after, Add::kKind) == 1,
        "a shuffle's gradient comes later");
  for (const Graph& graph : {everything(), narrow(), sameSize(), readTwice(), ordered(), gated(), forked()})
    checkOrder(backwardOf(graph, static_cast<int>(graph.subnets().size()) - 1).after, "odd graph");
}

#ifdef WBSR_HOST_CUDA
// Kernels of a step beside cuDNN's; of the second one, which finds all weights in place.
struct Gradients {
  std::vector<float> values;
  int launches;
};
Gradients gradientsOf(const Graph& graph, Precision precision) {
  const auto device = makeCuda(graph, precision, toFloat(randomParameters(graph, 5)));
  const std::vector<float> lr = noise(2 * 3 * 5 * 4, 1), hr = noise(2 * 3 * 10 * 8, 2);
  const TrainJob job = stepJob(lr, hr, 2, 5, 4, {0});
  device->waitGradients(device->gradients(job));
  const uint64_t before = host_cuda::launches();
  device->waitGradients(device->gradients(job));
  Gradients made{std::vector<float>(static_cast<size_t>(graph.parameterCount())),
                 static_cast<int>(host_cuda::launches() - before)};
  device->getArena(Arena::Gradient, made.values.data());
  return made;
}

// A block more is a kernel more for each of its two biases, and nothing else that cuDNN does not do.
void checkLaunches() {
  for (const Precision precision : {Precision::Bf16, Precision::Fp32}) {
    const int one = gradientsOf(srresnet(2, {8}, {1}), precision).launches,
              three = gradientsOf(srresnet(2, {8}, {3}), precision).launches;
    check(three - one == 4, "two blocks more are " + std::to_string(three - one) + " launches more");
  }
}

// Where no engine of cuDNN fuses, kernels of ours add, with the result of before.
void checkFallback() {
  const Graph graph = srresnet(2, {8}, {3});
  const Gradients fused = gradientsOf(graph, Precision::Fp32);
  host_cuda::fakeCudnn().fusion = false;
  const Gradients apart = gradientsOf(graph, Precision::Fp32);
  host_cuda::fakeCudnn().fusion = true;
  check(apart.launches > fused.launches, "more launches without fusion");
  check(gap(apart.values, fused.values) < 1e-5,
        "the same gradients: " + std::to_string(gap(apart.values, fused.values)));
}
#endif

}  // namespace

int main() {
  try {
    prepareDevice();
    checkSteps();
#ifdef WBSR_HOST_CUDA
    checkLaunches();
    checkFallback();
#endif
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

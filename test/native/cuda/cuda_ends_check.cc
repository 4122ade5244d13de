// Which forward steps the CUDA device runs as one (native/cuda/program/ends.h, attention.h). What they compute is
// compared with the CPU in cuda_network_check.
#include <algorithm>
#include <map>

#include "core/shuffled_conv.h"
#include "cuda/program/attention.h"
#include "cuda/program/ends.h"
#include "cuda/registry.h"
#include "support/cuda_device.h"
#include "support/networks.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

struct Ended {
  Program program;
  int count(StepKind kind) const {
    return static_cast<int>(std::count_if(program.steps.begin(), program.steps.begin() + program.forwardSteps,
                                          [&](const Step& step) { return step.kind == kind; }));
  }
};

Ended ended(const Graph& graph, bool half, bool training = false) {
  Ended made{lowerCovered(graph, graph.subnets().back(), 2, 6, 8, {0, 0, 8, 6})};
  fuse(made.program, cuda::supports, training);
  if (training) differentiate(made.program);
  cuda::fuseAttention(made.program);
  cuda::fuseEnds(made.program, half);
  return made;
}

void checkSrresnet() {
  const Graph graph = srresnet(4, {16, 64}, {1, 2});
  for (const bool training : {false, true})
    for (const bool half : {true, false}) {
      const Ended e = ended(graph, half, training);
      const std::string name = std::string(training ? "training" : "inference") + (half ? " in bf16" : " in float");
      check(e.count(kConvShuffled) == 2 && e.count("pixelShuffle") == 0, name + ": convolutions write sub-pixels");
      check(e.count(cuda::kConvOnto) == int{half} && e.count("upsample") == int{!half},
            name + ": the last one adds the enlarged input");
      const Step& last = e.program.steps[static_cast<size_t>(e.program.forwardSteps) - 1];
      check(last.out == e.program.output, name + ": the last forward step makes the output");
      const bool loss = static_cast<size_t>(e.program.forwardSteps) < e.program.steps.size() &&
                        e.program.steps[static_cast<size_t>(e.program.forwardSteps)].kind == kLoss;
      check(loss == training, name + ": behind it comes the loss");
    }
}

void checkOthers() {
  // Wider than our kernel: the enlargement stays.
  const Ended wide = ended(srresnet(2, {72}, {1}), true);
  check(wide.count(cuda::kConvOnto) == 0 && wide.count("upsample") == 1 && wide.count(kConvShuffled) == 1,
        "72 channels");
  // A convolution that more than the shuffle reads.
  const Ended twice = ended(readTwice(), true);
  check(twice.count(kConvShuffled) == 0 && twice.count("pixelShuffle") == 1, "a value that is read twice");
  // Thin values on both sides, and a shuffle that ends in RGB.
  const Ended all = ended(everything(), true);
  check(all.count(cuda::kConvOnto) == 0 && all.count("pixelShuffle") >= 1, "thin operands");
}

// The mean and both layers of each channel attention are one step of inference; training reads the values between.
void checkAttention() {
  const Graph graph = networks::rcan(2, {16, 32}, {2}, 3);
  for (const bool training : {false, true}) {
    const Ended e = ended(graph, true, training);
    const std::string name = training ? "training" : "inference";
    check(e.count(cuda::kAttention) == (training ? 0 : 6), name + ": attention");
    check(e.count(cuda::kConvSums) == (training ? 0 : 6), name + ": the convolutions before it leave its sums");
    for (size_t i = 1; i < e.program.steps.size(); ++i)
      if (e.program.steps[i - 1].kind == cuda::kConvSums)
        check(e.program.steps[i].kind == cuda::kAttention && e.program.steps[i].in[0] == e.program.steps[i - 1].out,
              name + ": in the next step");
    check(e.count("globalPool") == (training ? 6 : 0), name + ": means");
    const Step& last = e.program.steps[static_cast<size_t>(e.program.forwardSteps) - 1];
    check(last.out == e.program.output, name + ": the last forward step makes the output");
  }
  check(ended(everything(), false).count(cuda::kAttention) == 2, "every operator: attention");
}

// Products, PReLU and additions behind an activation are ends of convolutions; training keeps them apart.
void checkGated() {
  for (const bool training : {false, true}) {
    const Ended e = ended(gated(), true, training);
    const int kept = training ? 1 : 0;
    check(e.count("multiply") == kept && e.count("affine") == kept && e.count("prelu") == kept,
          training ? "training keeps them apart" : "a product and slopes at the end of convolutions");
    check(e.count("conv") == 5 && (training || e.program.forwardSteps == 5), "which are all there is to run");
  }
}

}  // namespace

int main() {
  prepareDevice();
  checkSrresnet();
  checkOthers();
  checkAttention();
  checkGated();
  return finish();
}

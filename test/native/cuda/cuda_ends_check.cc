// Which forward steps the CUDA device runs as the end of a convolution (native/cuda/program/ends.h). What they compute is
// compared with the CPU in cuda_network_check.
#include <algorithm>
#include <map>

#include "cuda/program/ends.h"
#include "cuda/registry.h"
#include "support/cuda_device.h"

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
  cuda::fuseEnds(made.program, half);
  return made;
}

void checkSrresnet() {
  const Graph graph = srresnet(4, {16, 64}, {1, 2});
  for (const bool training : {false, true})
    for (const bool half : {true, false}) {
      const Ended e = ended(graph, half, training);
      const std::string name = std::string(training ? "training" : "inference") + (half ? " in bf16" : " in float");
      check(e.count(cuda::kConvShuffled) == 2 && e.count("pixelShuffle") == 0,
            name + ": convolutions write sub-pixels");
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
  check(wide.count(cuda::kConvOnto) == 0 && wide.count("upsample") == 1 && wide.count(cuda::kConvShuffled) == 1,
        "72 channels");
  // A convolution that more than the shuffle reads.
  const Ended twice = ended(readTwice(), true);
  check(twice.count(cuda::kConvShuffled) == 0 && twice.count("pixelShuffle") == 1, "a value that is read twice");
  // Thin values on both sides, and a shuffle that ends in RGB.
  const Ended all = ended(everything(), true);
  check(all.count(cuda::kConvOnto) == 0 && all.count("pixelShuffle") >= 1, "thin operands");
}

}  // namespace

int main() {
  prepareDevice();
  checkSrresnet();
  checkOthers();
  return finish();
}

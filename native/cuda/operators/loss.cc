// The gradient of the loss by the network's output, which begins the backward pass; loss.cu and frequency_loss.cu have the
// kernels.
#include "cuda/loss.h"

#include "cuda/frequency_loss.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

void compileLoss(StepCompiler& compiler, const Step& step) {
  const Layout l = compiler.values().layout(step.out);
  compiler.launch(step.out, [step, l, batch = compiler.batch(), &v = compiler.values(), &c = compiler.context()] {
    constexpr int kChannels = 8;  // floats between pixels of a thin value
    loss(c.lossParameters.as<LossParameters>(), v.at<float>(step.in[0]), kChannels, c.target.as<float>(), kChannels,
         v.at<float>(step.out), kChannels, v.elements(step.out) / kChannels, c.lossSums.as<double>(),
         c.lossScratch.as(), c.stream);
    if (c.lossHasFrequency)
      frequencyLoss(c.lossParameters.as<LossParameters>(), v.at<float>(step.in[0]), c.target.as<float>(),
                    v.at<float>(step.out), kChannels, batch, l.height, l.width, c.lossSums.as<double>() + kFrequencySum,
                    c.scratch.as(), c.stream);
  });
}

}  // namespace

void register_loss(Registry& registry) { registry.add(kLoss, compileLoss); }

}  // namespace wbsr::cuda

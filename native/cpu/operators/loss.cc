// The loss and its gradient by the network's output; the target comes with the run.
#include "cpu/loss.h"

#include "cpu/executable.h"
#include "cpu/frequency_loss.h"

namespace wbsr::cpu {

void register_loss(Registry& registry) {
  registry.add(kLoss, [](const StepView& s) {
    const Layout l = s.outLayout();
    const RunArguments& run = s.arguments();
    LossSums sums =
        evaluateLoss(*run.loss, run.output, run.target, s.batch(), int64_t{l.h} * l.w, s.out(), run.lossGradientScale);
    addFrequencyTerm(*run.loss, run.output, run.target, s.batch(), l.h, l.w, s.out(), run.lossGradientScale, sums);
    s.executable().setLoss(sums);
  });
}

}  // namespace wbsr::cpu

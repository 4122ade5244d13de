// Convolutions, run by conv/steps.h.
#include "core/operators/conv.h"

#include "cuda/conv/steps.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Conv;

ConvGeometry geometryOf(const Step& step, int x, int y) {
  const auto& op = step.as<Conv>();
  ConvGeometry g{
      x, y, op.kernel(), op.stride(), op.padding(), op.groups(), op.depthwise(), step.parameters[Conv::kWeight], {}};
  if (step.parameters.size() > Conv::kBias) g.bias = step.parameters[Conv::kBias];
  return g;
}

ConvGeometry forwardGeometry(const Step& step) { return geometryOf(step, step.in[0], step.out); }
ConvEnd endOf(const Step& step) {
  return {step.parameters.size() > Conv::kBias, step.activation, step.slope, step.residual};
}

// in: dOut; and the gate where an activation's gradient was fused (program/gates.h).
ConvGeometry backwardGeometry(const Step& step) { return geometryOf(step, step.out, step.in[0]); }
ConvEnd gateEndOf(const Step& step) { return {false, step.activation, step.slope, -1}; }
int gateOf(const Step& step) { return step.in.size() > 1 ? step.in[1] : -1; }

// in: the forward input, dOut.
ConvGeometry weightGeometry(const Step& step) { return geometryOf(step, step.in[0], step.in[1]); }

}  // namespace

void register_conv(Registry& registry) {
  registry.add(
      Conv::kKind,
      [](StepCompiler& compiler, const Step& step) { compileToOutput(compiler, forwardGeometry(step), endOf(step)); },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addOutputPlan(compiler, forwardGeometry(step), endOf(step), specs);
      });
  // The activation must stay finite in the padding.
  registry.fuses(Conv::kKind, [](const Program&, const Step& step) { return sparesPadding(step.activation) ? 0 : 2; });
  registry.add(
      Conv::kBackwardData,
      [](StepCompiler& compiler, const Step& step) {
        compileToInput(compiler, backwardGeometry(step), gateEndOf(step), gateOf(step));
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addInputPlan(compiler, backwardGeometry(step), gateEndOf(step), gateOf(step), specs);
      });
  registry.add(
      Conv::kBackwardWeights,
      [](StepCompiler& compiler, const Step& step) {
        compileToWeight(compiler, weightGeometry(step));
        compileToBias(compiler, weightGeometry(step), step.in[1]);
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addWeightPlan(compiler, weightGeometry(step), specs);
      });
}

}  // namespace wbsr::cuda

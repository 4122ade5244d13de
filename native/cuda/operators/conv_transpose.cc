// Transposed convolutions: the gradient of a convolution by its input as a forward pass (conv/steps.h), so that its output
// is that convolution's x and its weight (I, O, k, k) has the rows of the input.
#include "core/operators/conv_transpose.h"

#include "cuda/conv/steps.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::ConvTranspose;

ConvGeometry geometryOf(const Step& step, int x, int y) {
  const auto& op = step.as<ConvTranspose>();
  ConvGeometry g{x, y, op.kernel(), op.stride(), op.padding(), 1, false, step.parameters[ConvTranspose::kWeight], {}};
  if (step.parameters.size() > ConvTranspose::kBias) g.bias = step.parameters[ConvTranspose::kBias];
  return g;
}

ConvGeometry forwardGeometry(const Step& step) { return geometryOf(step, step.out, step.in[0]); }
ConvEnd endOf(const Step& step) {
  return {step.parameters.size() > ConvTranspose::kBias, step.activation, step.slope, step.residual};
}
// in: dOut.
ConvGeometry backwardGeometry(const Step& step) { return geometryOf(step, step.in[0], step.out); }
// in: the forward input, dOut.
ConvGeometry weightGeometry(const Step& step) { return geometryOf(step, step.in[1], step.in[0]); }

}  // namespace

void register_conv_transpose(Registry& registry) {
  registry.add(
      ConvTranspose::kKind,
      [](StepCompiler& compiler, const Step& step) {
        compileToInput(compiler, forwardGeometry(step), endOf(step), -1);
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addInputPlan(compiler, forwardGeometry(step), endOf(step), -1, specs);
      });
  registry.fuses(ConvTranspose::kKind,
                 [](const Program&, const Step& step) { return sparesPadding(step.activation) ? 0 : 2; });
  registry.add(
      ConvTranspose::kBackwardData,
      [](StepCompiler& compiler, const Step& step) { compileToOutput(compiler, backwardGeometry(step), {}); },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addOutputPlan(compiler, backwardGeometry(step), {}, specs);
      });
  registry.add(
      ConvTranspose::kBackwardWeights,
      [](StepCompiler& compiler, const Step& step) {
        compileToWeight(compiler, weightGeometry(step));
        compileToBias(compiler, weightGeometry(step), step.in[1]);
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addWeightPlan(compiler, weightGeometry(step), specs);
      });
}

}  // namespace wbsr::cuda

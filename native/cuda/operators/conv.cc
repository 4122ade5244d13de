// Convolutions, run by conv/steps.h.
#include "core/operators/conv.h"

#include "core/shuffled_conv.h"
#include "cuda/conv/steps.h"
#include "cuda/program/attention.h"
#include "cuda/program/ends.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Conv;

ConvGeometry geometryOf(const Conv& op, const Step& step, int x, int y) {
  ConvGeometry g{
      x, y, op.kernel(), op.stride(), op.padding(), op.groups(), op.depthwise(), step.parameters[Conv::kWeight], {}};
  if (step.parameters.size() > Conv::kBias) g.bias = step.parameters[Conv::kBias];
  return g;
}

ConvGeometry geometryOf(const Step& step, int x, int y) { return geometryOf(step.as<Conv>(), step, x, y); }

ConvGeometry forwardGeometry(const Step& step) { return geometryOf(step, step.in[0], step.out); }
ConvEnd endOf(const Step& step) {
  return {step.parameters.size() > Conv::kBias, step.activation, step.slope, step.residual, step.slopes, step.gate};
}

ConvEnd summedEndOf(const Step& step) {
  ConvEnd end = endOf(step);
  end.sums = true;
  return end;
}

ConvGeometry shuffledGeometry(const StepCompiler& compiler, const Step& step) {
  ConvGeometry g = forwardGeometry(step);
  g.factor = compiler.values().layout(step.out).height / compiler.values().layout(step.in[0]).height;
  return g;
}

// in: dOut; and the gate where an activation's gradient was fused. The residual, too, is of program/gradient_ends.h.
ConvGeometry backwardGeometry(const Step& step) { return geometryOf(step, step.out, step.in[0]); }
ConvEnd gateEndOf(const Step& step) { return {false, step.activation, step.slope, step.residual}; }
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
  registry.fuses(Conv::kKind, [](const Program& program, const Step& step) {
    // The activation must stay finite in the padding, and there is no kernel that reads the parts of a concatenation.
    if (sparesPadding(step.activation) || step.in.size() > 1) return 0;
    const bool both = step.residual >= 0 && step.activation != ActivationKind::None;
    const auto value = [&](int id) -> const Value& { return program.values[static_cast<size_t>(id)]; };
    const bool simple = !both && !step.gate && step.slopes.parameter < 0;
    return simple || takesAnyEnd(value(step.in[0]), value(step.out), step.as<Conv>().depthwise()) ? 2 : 0;
  });
  registry.add(
      kConvSums,
      [](StepCompiler& compiler, const Step& step) {
        compileToOutput(compiler, forwardGeometry(step), summedEndOf(step));
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addOutputPlan(compiler, forwardGeometry(step), summedEndOf(step), specs);
      });
  registry.add(
      kConvShuffled,
      [](StepCompiler& compiler, const Step& step) {
        compileToOutput(compiler, shuffledGeometry(compiler, step), endOf(step));
      },
      [](const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
        addOutputPlan(compiler, shuffledGeometry(compiler, step), endOf(step), specs);
      });
  registry.add(kConvOnto, [](StepCompiler& compiler, const Step& step) {
    const auto& op = step.as<ConvOnto>();
    compileOnto(compiler, geometryOf(static_cast<const Conv&>(op.conv()), step, step.in[0], step.out),
                static_cast<const operators::Upsample&>(op.upsample()), step.in[1]);
  });
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

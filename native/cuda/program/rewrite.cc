#include "cuda/program/rewrite.h"

#include "core/error.h"
#include "core/operators/activation.h"
#include "core/operators/conv.h"
#include "core/operators/global_pool.h"
#include "core/operators/pixel_shuffle.h"
#include "core/operators/scale_channels.h"
#include "core/operators/upsample.h"

namespace wbsr::cuda {
namespace {

void erase(Program& program, int index) {
  program.steps.erase(program.steps.begin() + index);
  if (index < program.forwardSteps) --program.forwardSteps;
}

bool gateGradient(Program& program) {
  const Uses uses(program);
  for (size_t i = static_cast<size_t>(program.forwardSteps); i < program.steps.size(); ++i) {
    const Step activation = program.steps[i];
    if (activation.kind != operators::Activation::kBackward) continue;
    const auto& op = activation.as<operators::Activation>();
    if (op.function() != ActivationKind::Relu && op.function() != ActivationKind::LeakyRelu) continue;
    const int from = uses.producer[activation.in[0]];
    const Value& value = program.values[activation.out];
    if (from < 0 || uses.count[activation.in[0]] != 1 || value.thin || value.pooled) continue;
    Step& data = program.steps[from];
    if (data.kind != operators::Conv::kBackwardData || data.activation != ActivationKind::None) continue;
    data.activation = op.function();
    data.slope = op.slope();
    data.in.push_back(activation.in[1]);
    data.out = activation.out;
    erase(program, static_cast<int>(i));
    return true;
  }
  return false;
}

}  // namespace

// The upsampled image never goes through memory: its kernel adds it to what the convolution wrote.
int supports(const Program&, const Step& step) {
  const bool leaky = step.activation == ActivationKind::Relu || step.activation == ActivationKind::LeakyRelu;
  const bool known = leaky || step.activation == ActivationKind::None || step.activation == ActivationKind::Sigmoid;
  if (!known) return 0;
  if (step.kind == operators::Conv::kKind) return 2;
  if (step.kind == operators::PixelShuffle::kKind) return leaky && step.residual < 0 ? 1 : 0;
  if (step.activation != ActivationKind::None) return 0;
  if (step.kind == operators::Upsample::kKind) return 3;
  return step.kind == operators::ScaleChannels::kKind ? 1 : 0;
}

namespace {

// What the kernels would compute wrongly without a word.
void refuseUnknown(const Program& program) {
  for (const Step& step : program.steps) {
    bool known = true;
    if (step.kind == operators::Conv::kKind) {
      const auto& conv = step.as<operators::Conv>();
      known = conv.keepsSize() && conv.groups() == 1 && !conv.depthwise();
    } else if (step.kind == operators::Activation::kKind) {
      known = step.as<operators::Activation>().function() <= ActivationKind::Sigmoid;
    }
    if (step.kind == operators::Upsample::kKind) known = step.as<operators::Upsample>().isClassic();
    if (step.kind == operators::GlobalPool::kKind) known = !step.as<operators::GlobalPool>().deviation();
    for (const ParameterSlice& slice : step.parameters)
      for (const Ranges& ranges : slice.ranges) known = known && ranges.size() == 1;
    if (!known)
      throw Error("WBSR_INTERNAL", "the CUDA device has no code for this step of kind " + std::string(step.kind));
  }
}

}  // namespace

void rewrite(Program& program) {
  refuseUnknown(program);
  while (gateGradient(program)) {}
}

}  // namespace wbsr::cuda

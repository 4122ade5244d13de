#include "cuda/program/rewrite.h"

#include <vector>

namespace wbsr::cuda {
namespace {

struct Uses {
  std::vector<int> count, producer;
  explicit Uses(const Program& program) : count(program.values.size(), 0), producer(program.values.size(), -1) {
    for (size_t i = 0; i < program.steps.size(); ++i) {
      const Step& step = program.steps[i];
      for (int in : step.in)
        if (in >= 0) ++count[in];
      if (step.residual >= 0) ++count[step.residual];
      if (step.out >= 0) producer[step.out] = static_cast<int>(i);
    }
    ++count[program.output];
  }
};

void erase(Program& program, int index) {
  program.steps.erase(program.steps.begin() + index);
  if (index < program.forwardSteps) --program.forwardSteps;
}

// The upsampled image never goes through memory: its kernel adds it to what the convolution wrote.
bool upsampleLast(Program& program) {
  const Uses uses(program);
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const Step conv = program.steps[i];
    if (conv.kind != StepKind::Conv || conv.residual < 0 || uses.count[conv.residual] != 1) continue;
    const int from = uses.producer[conv.residual];
    if (from < 0 || program.steps[from].kind != StepKind::Upsample || program.steps[from].in[1] >= 0) continue;
    Step upsample = program.steps[from];
    program.values.push_back(program.values[conv.out]);
    const int bare = static_cast<int>(program.values.size()) - 1;
    program.steps[i].residual = -1;
    program.steps[i].out = bare;
    upsample.in[1] = bare;
    upsample.out = conv.out;
    program.steps.insert(program.steps.begin() + static_cast<std::ptrdiff_t>(i) + 1, upsample);
    ++program.forwardSteps;
    erase(program, from);
    return true;
  }
  return false;
}

bool scaleAndAdd(Program& program) {
  const Uses uses(program);
  for (int i = 0; i < program.forwardSteps; ++i) {
    const Step sum = program.steps[i];
    if (sum.kind != StepKind::Add || sum.in[0] == sum.in[1]) continue;
    for (int side = 0; side < 2; ++side) {
      const int from = uses.producer[sum.in[side]];
      if (from < 0 || from >= program.forwardSteps || uses.count[sum.in[side]] != 1) continue;
      Step scale = program.steps[from];
      if (scale.kind != StepKind::ScaleChannels || scale.residual >= 0) continue;
      scale.residual = sum.in[1 - side];
      scale.out = sum.out;
      program.steps[i] = scale;  // here both operands exist
      erase(program, from);
      return true;
    }
  }
  return false;
}

bool gateGradient(Program& program) {
  const Uses uses(program);
  for (size_t i = static_cast<size_t>(program.forwardSteps); i < program.steps.size(); ++i) {
    const Step activation = program.steps[i];
    if (activation.kind != StepKind::ActivationBackward || activation.activation == ActivationKind::Sigmoid) continue;
    const int from = uses.producer[activation.in[0]];
    const Value& value = program.values[activation.out];
    if (from < 0 || uses.count[activation.in[0]] != 1 || value.thin || value.pooled) continue;
    Step& data = program.steps[from];
    if (data.kind != StepKind::ConvBackwardData || data.activation != ActivationKind::None) continue;
    data.activation = activation.activation;
    data.slope = activation.slope;
    data.in[1] = activation.in[1];
    data.out = activation.out;
    erase(program, static_cast<int>(i));
    return true;
  }
  return false;
}

}  // namespace

void rewrite(Program& program) {
  while (upsampleLast(program)) {}
  while (scaleAndAdd(program)) {}
  while (gateGradient(program)) {}
}

}  // namespace wbsr::cuda

#include "cuda/program/gradient_ends.h"

#include "core/operators/activation.h"
#include "core/operators/add.h"
#include "core/operators/conv.h"

namespace wbsr::cuda {
namespace {

using operators::Activation;
using operators::Add;
using operators::Conv;

// The data gradient that computes `value` for one reader and has no gate yet; -1: none. Thin and pooled values have
// kernels of ours, without such ends, and so have depthwise convolutions.
int gradientOf(const Program& program, const Uses& uses, int value) {
  const auto index = static_cast<size_t>(value);
  const int from = uses.producer[index];
  if (from < 0 || uses.count[index] != 1 || program.values[index].thin || program.values[index].pooled) return -1;
  const Step& step = program.steps[static_cast<size_t>(from)];
  const bool bare = step.kind == Conv::kBackwardData && step.activation == ActivationKind::None;
  return bare && !step.as<Conv>().depthwise() ? from : -1;
}

bool fuseSum(Program& program, const Uses& uses, size_t index) {
  const Step& add = program.steps[index];
  if (add.kind != Add::kKind) return false;
  for (size_t side = 0; side < 2; ++side) {
    const int from = gradientOf(program, uses, add.in[side]), other = add.in[1 - side];
    if (from < 0 || uses.producer[static_cast<size_t>(other)] > from) continue;
    Step& data = program.steps[static_cast<size_t>(from)];
    if (data.residual >= 0) continue;
    data.residual = other;
    data.out = add.out;
    return true;
  }
  return false;
}

bool fuseGate(Program& program, const Uses& uses, size_t index) {
  const Step& activation = program.steps[index];
  if (activation.kind != Activation::kBackward) return false;
  const auto& op = activation.as<Activation>();
  // A gate depends on the sign of the output alone.
  if (op.function() != ActivationKind::Relu && op.function() != ActivationKind::LeakyRelu) return false;
  const int from = gradientOf(program, uses, activation.in[0]);
  if (from < 0) return false;
  Step& data = program.steps[static_cast<size_t>(from)];
  data.activation = op.function();
  data.slope = op.slope();
  data.in.push_back(activation.in[1]);
  data.out = activation.out;
  return true;
}

}  // namespace

void fuseGradientEnds(Program& program) {
  Uses uses(program);
  for (size_t i = static_cast<size_t>(program.forwardSteps); i < program.steps.size();) {
    if (!fuseSum(program, uses, i) && !fuseGate(program, uses, i)) {
      ++i;
      continue;
    }
    program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(i));
    uses = Uses(program);
  }
}

}  // namespace wbsr::cuda

#include "cuda/program/gates.h"

#include "core/operators/activation.h"
#include "core/operators/conv.h"

namespace wbsr::cuda {
namespace {

using operators::Activation;
using operators::Conv;

// Fuses the first pair that it finds.
bool fuseGate(Program& program) {
  const Uses uses(program);
  for (size_t i = static_cast<size_t>(program.forwardSteps); i < program.steps.size(); ++i) {
    const Step activation = program.steps[i];
    if (activation.kind != Activation::kBackward) continue;
    const auto& op = activation.as<Activation>();
    // A gate depends on the sign of the output alone.
    if (op.function() != ActivationKind::Relu && op.function() != ActivationKind::LeakyRelu) continue;
    const int from = uses.producer[static_cast<size_t>(activation.in[0])];
    const Value& value = program.values[static_cast<size_t>(activation.out)];
    if (from < 0 || uses.count[static_cast<size_t>(activation.in[0])] != 1 || value.thin || value.pooled) continue;
    Step& data = program.steps[static_cast<size_t>(from)];
    if (data.kind != Conv::kBackwardData || data.activation != ActivationKind::None) continue;
    if (data.as<Conv>().depthwise()) continue;  // its kernel has no gate
    data.activation = op.function();
    data.slope = op.slope();
    data.in.push_back(activation.in[1]);
    data.out = activation.out;
    program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

}  // namespace

void fuseGates(Program& program) {
  while (fuseGate(program)) {}
}

}  // namespace wbsr::cuda

// Steps that a device can run as one.
#include "core/operators/activation.h"
#include "core/operators/add.h"
#include "core/program.h"

namespace wbsr {

Uses::Uses(const Program& program) : count(program.values.size(), 0), producer(program.values.size(), -1) {
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    for (const int in : step.in) ++count[static_cast<size_t>(in)];
    if (step.residual >= 0) ++count[static_cast<size_t>(step.residual)];
    if (step.out >= 0) producer[static_cast<size_t>(step.out)] = static_cast<int>(i);
  }
  ++count[static_cast<size_t>(program.output)];
}

namespace {

// The step that alone makes `value` for one reader and applies nothing to it yet; -1: there is none.
int bareProducer(const Program& program, const Uses& uses, int value) {
  const int producer = uses.producer[static_cast<size_t>(value)];
  if (producer < 0 || uses.count[static_cast<size_t>(value)] != 1) return -1;
  const Step& step = program.steps[static_cast<size_t>(producer)];
  return step.residual < 0 && step.activation == ActivationKind::None ? producer : -1;
}

// The activation at `index` becomes part of the step before it.
bool fuseActivation(Program& program, const Uses& uses, size_t index, const Supports& supports, bool training) {
  const Step& step = program.steps[index];
  if (step.kind != operators::Activation::kKind || step.residual >= 0) return false;
  const auto& activation = step.as<operators::Activation>();
  if (training && activation.needsInput()) return false;
  const int producer = bareProducer(program, uses, step.in[0]);
  if (producer < 0) return false;
  Step fused = program.steps[static_cast<size_t>(producer)];
  fused.activation = activation.function();
  fused.slope = activation.slope();
  fused.out = step.out;
  if (!supports(program, fused)) return false;
  program.steps[static_cast<size_t>(producer)] = std::move(fused);
  program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(index));
  return true;
}

// The addition at `index` becomes part of one of the steps before it, which moves here, where both operands exist.
bool fuseAddition(Program& program, const Uses& uses, size_t index, const Supports& supports) {
  const Step step = program.steps[index];
  if (step.kind != operators::Add::kKind || step.residual >= 0 || step.in[0] == step.in[1]) return false;
  int best = 0, producer = -1;
  Step fused;
  for (size_t side = 0; side < 2; ++side) {
    const int p = bareProducer(program, uses, step.in[side]);
    if (p < 0) continue;
    Step candidate = program.steps[static_cast<size_t>(p)];
    candidate.residual = step.in[1 - side];
    candidate.out = step.out;
    const int rank = supports(program, candidate);
    if (rank <= best) continue;
    best = rank;
    producer = p;
    fused = std::move(candidate);
  }
  if (producer < 0) return false;
  program.steps[index] = std::move(fused);
  program.steps.erase(program.steps.begin() + producer);
  return true;
}

}  // namespace

void fuse(Program& program, const Supports& supports, bool training) {
  Uses uses(program);
  for (size_t i = 0; i < program.steps.size();) {
    // After either, i is the step that followed.
    if (fuseActivation(program, uses, i, supports, training) || fuseAddition(program, uses, i, supports))
      uses = Uses(program);
    else
      ++i;
  }
  // Channels may be ordered sub-pixel first where nothing but the shuffle sees them.
  for (const Step& step : program.steps) {
    if (!step.op->shuffles() || program.values[static_cast<size_t>(step.out)].thin) continue;
    const int source = step.in[0], producer = uses.producer[static_cast<size_t>(source)];
    if (producer < 0 || uses.count[static_cast<size_t>(source)] != 1) continue;
    const Step& before = program.steps[static_cast<size_t>(producer)];
    if (!before.op->ordersChannels() || before.residual >= 0) continue;
    Value& value = program.values[static_cast<size_t>(source)];
    value.groups = value.channels / program.values[static_cast<size_t>(step.out)].channels;
  }
  program.forwardSteps = static_cast<int>(program.steps.size());
}

}  // namespace wbsr

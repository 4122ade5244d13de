// Steps that a device can run as one.
#include <algorithm>

#include "core/operators/activation.h"
#include "core/operators/add.h"
#include "core/operators/affine.h"
#include "core/operators/concat.h"
#include "core/operators/conv.h"
#include "core/operators/multiply.h"
#include "core/operators/prelu.h"
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

// Whether the step adds nothing and applies nothing to its result.
bool isBare(const Step& step) { return step.residual < 0 && step.activation == ActivationKind::None && !step.gate; }

// The step that computes `value`, if `value` has that many readers; else -1.
int producerOf(const Uses& uses, int value, int readers = 1) {
  return uses.count[static_cast<size_t>(value)] == readers ? uses.producer[static_cast<size_t>(value)] : -1;
}

// The step that computes `value`, if `value` has one reader and the step is bare; else -1.
int bareProducer(const Program& program, const Uses& uses, int value) {
  const int producer = producerOf(uses, value);
  return producer >= 0 && isBare(program.steps[static_cast<size_t>(producer)]) ? producer : -1;
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

// The PReLU at `index` becomes part of the step before it. Training reads what that step makes.
bool fuseSlopes(Program& program, const Uses& uses, size_t index, const Supports& supports) {
  const Step& step = program.steps[index];
  if (step.kind != operators::Prelu::kKind || !isBare(step)) return false;
  const int producer = bareProducer(program, uses, step.in[0]);
  if (producer < 0) return false;
  Step fused = program.steps[static_cast<size_t>(producer)];
  fused.activation = ActivationKind::LeakyRelu;
  fused.slopes = step.parameters[0];
  fused.out = step.out;
  if (!supports(program, fused)) return false;
  program.steps[static_cast<size_t>(producer)] = std::move(fused);
  program.steps.erase(program.steps.begin() + static_cast<std::ptrdiff_t>(index));
  return true;
}

// The one constant that an affine step adds to its input; none where it does something else.
std::optional<float> constantOf(const Program& program, const Step& step) {
  if (step.kind != operators::Affine::kKind || !isBare(step)) return std::nullopt;
  const auto& affine = step.as<operators::Affine>();
  for (int c = 0; c < program.values[static_cast<size_t>(step.out)].channels; ++c)
    if (affine.scale(c) != 1.f || affine.offset(c) != affine.offset(0)) return std::nullopt;
  return affine.offset(0);
}

// (t + x) * (activation(t) + constant), whose product is at `index`, becomes part of the step that makes t, which moves
// here. Both factors may stand on either side.
bool fuseGate(Program& program, const Uses& uses, size_t index, const Supports& supports) {
  const Step product = program.steps[index];
  if (product.kind != operators::Multiply::kKind || !isBare(product)) return false;
  for (size_t side = 0; side < 2; ++side) {
    const int sum = bareProducer(program, uses, product.in[side]),
              shifted = bareProducer(program, uses, product.in[1 - side]);
    if (sum < 0 || shifted < 0) continue;
    const Step &add = program.steps[static_cast<size_t>(sum)], &affine = program.steps[static_cast<size_t>(shifted)];
    const std::optional<float> constant = constantOf(program, affine);
    if (add.kind != operators::Add::kKind || !constant) continue;
    const int activated = bareProducer(program, uses, affine.in[0]);
    if (activated < 0) continue;
    const Step& activation = program.steps[static_cast<size_t>(activated)];
    if (activation.kind != operators::Activation::kKind) continue;
    const int t = activation.in[0], first = producerOf(uses, t, 2);
    const bool left = add.in[0] == t;
    if (first < 0 || left == (add.in[1] == t) || !isBare(program.steps[static_cast<size_t>(first)])) continue;
    Step fused = program.steps[static_cast<size_t>(first)];
    fused.activation = activation.as<operators::Activation>().function();
    fused.slope = activation.as<operators::Activation>().slope();
    fused.residual = add.in[left ? 1 : 0];
    fused.gate = constant;
    fused.out = product.out;
    if (!supports(program, fused)) continue;
    program.steps[index] = std::move(fused);
    std::vector<int> gone{sum, shifted, activated, first};
    std::sort(gone.rbegin(), gone.rend());
    for (const int step : gone) program.steps.erase(program.steps.begin() + step);
    return true;
  }
  return false;
}

// The pointwise convolution at `index` reads the parts of a concatenation that nothing else reads.
bool fuseConcat(Program& program, const Uses& uses, size_t index, const Supports& supports) {
  const Step& step = program.steps[index];
  if (step.kind != operators::Conv::kKind || step.as<operators::Conv>().kernel() != 1) return false;
  const int producer = producerOf(uses, step.in[0]);
  if (producer < 0) return false;
  const Step& concat = program.steps[static_cast<size_t>(producer)];
  if (concat.kind != operators::Concat::kKind || !isBare(concat)) return false;
  Step fused = step;
  fused.in = concat.in;
  if (!supports(program, fused)) return false;
  program.steps[index] = std::move(fused);
  program.steps.erase(program.steps.begin() + producer);
  return true;
}

// The addition at `index` becomes part of one of the steps before it, which moves here, where both operands exist.
bool fuseAddition(Program& program, const Uses& uses, size_t index, const Supports& supports, bool training) {
  const Step step = program.steps[index];
  if (step.kind != operators::Add::kKind || step.residual >= 0 || step.in[0] == step.in[1]) return false;
  int best = 0, producer = -1;
  Step fused;
  for (size_t side = 0; side < 2; ++side) {
    const int p = producerOf(uses, step.in[side]);
    if (p < 0) continue;
    const Step& before = program.steps[static_cast<size_t>(p)];
    // The backward pass of an activation may take its output, which the sum hides.
    if (before.residual >= 0 || before.gate || (training && before.activation != ActivationKind::None)) continue;
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
  // Gates first: their additions and activations have a step to themselves.
  for (size_t i = 0; !training && i < program.steps.size();) {
    if (fuseGate(program, uses, i, supports)) {
      uses = Uses(program);
      i = 0;
    } else {
      ++i;
    }
  }
  for (size_t i = 0; i < program.steps.size();) {
    // After one of them, i is the step that followed.
    if (fuseActivation(program, uses, i, supports, training) || fuseAddition(program, uses, i, supports, training) ||
        (!training && (fuseSlopes(program, uses, i, supports) || fuseConcat(program, uses, i, supports))))
      uses = Uses(program);
    else
      ++i;
  }
  // Channels may be ordered sub-pixel first where the shuffle is their only reader.
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

// Appends the loss and, in reverse order, the backward steps of every forward step.
#include "core/backward.h"
#include "core/operators/activation.h"
#include "core/operators/add.h"

namespace wbsr {

Backward::Backward(Program& program)
    : program_(program), needs_(program.values.size(), false), gradient_(program.values.size(), -1) {
  for (const Step& step : program.steps) {
    bool need = !step.parameters.empty();
    for (const int in : step.in) need = need || needs(in);
    if (step.residual >= 0) need = need || needs(step.residual);
    needs_[static_cast<size_t>(step.out)] = need;
  }
}

int Backward::like(int value) {
  program_.values.push_back(program_.values[static_cast<size_t>(value)]);
  gradient_.push_back(-1);
  return static_cast<int>(program_.values.size()) - 1;
}

Step& Backward::push(StepKind kind, const Step& of, std::vector<int> in, int out) {
  Step step;
  step.kind = kind;
  step.op = of.op;
  step.node = of.node;
  step.parameters = of.parameters;
  step.in = std::move(in);
  step.out = out;
  program_.steps.push_back(std::move(step));
  return program_.steps.back();
}

void Backward::pushInto(StepKind kind, const Step& of, std::vector<int> in, int k, bool activated) {
  const int input = of.in[static_cast<size_t>(k)], out = like(input);
  Step& step = push(kind, of, std::move(in), out);
  if (activated) {
    step.activation = of.activation;
    step.slope = of.slope;
  }
  accumulate(input, out);
}

int Backward::beforeActivation(const Step& step) {
  const int g = gradient(step);
  if (step.activation == ActivationKind::None) return g;
  const int before = like(step.out);
  Step activation;
  activation.op = std::make_shared<operators::Activation>(step.activation, step.slope);
  push(operators::Activation::kBackward, activation, {g, step.out}, before);
  return before;
}

void Backward::accumulate(int value, int contribution) {
  const int before = gradient_[static_cast<size_t>(value)];
  int sum = contribution;
  if (before >= 0) {
    Step add;
    add.op = std::make_shared<operators::Add>();
    sum = like(value);
    push(operators::Add::kKind, add, {contribution, before}, sum);
  }
  gradient_[static_cast<size_t>(value)] = sum;
}

void differentiate(Program& program) {
  const size_t forward = program.steps.size();
  program.forwardSteps = static_cast<int>(forward);
  Backward backward(program);
  const int output = program.output, lossGradient = backward.like(output);
  backward.push(kLoss, {}, {output}, lossGradient);
  backward.accumulate(output, lossGradient);
  for (size_t i = forward; i-- > 0;) {
    const Step step = program.steps[i];  // a copy: appending moves the steps
    if (backward.gradient(step) < 0) continue;
    if (step.residual >= 0 && backward.needs(step.residual))
      backward.accumulate(step.residual, backward.gradient(step));
    step.op->differentiate(step, backward);
  }
}

}  // namespace wbsr

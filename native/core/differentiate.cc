// Appends the loss and, in reverse order, the backward step of every forward step.
#include "core/error.h"
#include "core/program.h"

namespace wbsr {

void differentiate(Program& program) {
  auto& steps = program.steps;
  const int forward = static_cast<int>(steps.size());
  program.forwardSteps = forward;

  // Which values depend on parameters: gradients of others are not needed.
  std::vector<bool> needs(program.values.size(), false);
  for (int i = 0; i < forward; ++i) {
    const Step& step = steps[i];
    bool need = step.kind == StepKind::Conv;
    for (int in : step.in) need = need || (in >= 0 && needs[in]);
    if (step.residual >= 0) need = need || needs[step.residual];
    needs[step.out] = need;
  }

  std::vector<int> gradient(program.values.size(), -1);  // value -> its gradient's value
  auto like = [&](int value) {
    program.values.push_back(program.values[value]);
    gradient.push_back(-1);
    return static_cast<int>(program.values.size()) - 1;
  };
  auto push = [&](StepKind kind, int in0, int in1, int out) -> Step& {
    Step step;
    step.kind = kind;
    step.in[0] = in0;
    step.in[1] = in1;
    step.out = out;
    steps.push_back(step);
    return steps.back();
  };
  auto accumulate = [&](int value, int contribution) {
    if (gradient[value] < 0) {
      gradient[value] = contribution;
    } else {
      const int sum = like(value);
      push(StepKind::Add, contribution, gradient[value], sum);
      gradient[value] = sum;
    }
  };

  const int lossGradient = like(program.output);
  push(StepKind::Loss, program.output, -1, lossGradient);
  gradient[program.output] = lossGradient;

  for (int i = forward - 1; i >= 0; --i) {
    const Step step = steps[i];  // a copy: push() reallocates
    int g = gradient[step.out];
    if (g < 0) continue;
    WBSR_CHECK(step.kind != StepKind::Crop);
    switch (step.kind) {
      case StepKind::Conv: {
        if (step.residual >= 0 && needs[step.residual]) accumulate(step.residual, g);
        if (step.activation != ActivationKind::None) {
          const int before = like(step.out);
          Step& backward = push(StepKind::ActivationBackward, g, step.out, before);
          backward.activation = step.activation;
          backward.slope = step.slope;
          g = before;
        }
        Step shape = step;
        shape.activation = ActivationKind::None;
        shape.residual = -1;
        shape.kind = StepKind::ConvBackwardWeights;
        shape.in[0] = step.in[0];
        shape.in[1] = g;
        shape.out = -1;
        steps.push_back(shape);
        if (needs[step.in[0]]) {
          shape.kind = StepKind::ConvBackwardData;
          shape.in[0] = g;
          shape.in[1] = -1;
          shape.out = like(step.in[0]);
          steps.push_back(shape);
          accumulate(step.in[0], shape.out);
        }
        break;
      }
      case StepKind::Activation: {
        const int before = like(step.in[0]);
        Step& backward = push(StepKind::ActivationBackward, g, step.out, before);
        backward.activation = step.activation;
        backward.slope = step.slope;
        accumulate(step.in[0], before);
        break;
      }
      case StepKind::Add:
        for (int in : step.in)
          if (needs[in]) accumulate(in, g);
        break;
      case StepKind::PixelShuffle:
      case StepKind::Upsample: {
        if (!needs[step.in[0]]) break;
        const bool shuffle = step.kind == StepKind::PixelShuffle;
        const bool active = step.activation != ActivationKind::None;
        const int before = like(step.in[0]);
        Step& backward = push(shuffle ? StepKind::PixelShuffleBackward : StepKind::UpsampleBackward, g,
                              active ? step.out : -1, before);
        backward.activation = step.activation;
        backward.slope = step.slope;
        backward.factor = step.factor;
        backward.cubic = step.cubic;
        backward.shuffled = step.shuffled;
        accumulate(step.in[0], before);
        break;
      }
      case StepKind::GlobalPool: {
        if (!needs[step.in[0]]) break;
        const int before = like(step.in[0]);
        push(StepKind::GlobalPoolBackward, g, -1, before);
        accumulate(step.in[0], before);
        break;
      }
      case StepKind::ScaleChannels: {
        if (needs[step.in[1]]) {
          const int factors = like(step.in[1]);
          push(StepKind::ScaleChannelsBackwardFactors, g, step.in[0], factors);
          accumulate(step.in[1], factors);
        }
        if (needs[step.in[0]]) {
          const int before = like(step.in[0]);
          push(StepKind::ScaleChannelsBackwardInput, g, step.in[1], before);
          accumulate(step.in[0], before);
        }
        break;
      }
      default: WBSR_CHECK(false);
    }
  }
}

}  // namespace wbsr

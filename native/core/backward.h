// Collects the backward steps that the operators' differentiate() appends.
#pragma once
#include <vector>

#include "core/program.h"

namespace wbsr {

class Backward {
 public:
  explicit Backward(Program& program);

  // Whether the value depends on parameters. Gradients of other values are not needed.
  bool needs(int value) const { return needs_[static_cast<size_t>(value)]; }
  // The gradient of the step's output. Backward of the step's residual is done, of its activation not yet.
  int gradient(const Step& step) const { return gradient_[static_cast<size_t>(step.out)]; }
  // The gradient of the value before the step's activation. Appends the activation's backward step if there is one.
  int beforeActivation(const Step& step);
  const Value& value(int value) const { return program_.values[static_cast<size_t>(value)]; }
  // A new value like that one.
  int like(int value);
  // Appends a step of that kind with the forward step's operator and parameters. The reference holds until the next call.
  Step& push(StepKind kind, const Step& of, std::vector<int> in, int out);
  // The same for a step whose result adds to the gradient of the forward step's input k. activated: it has the forward
  // step's activation.
  void pushInto(StepKind kind, const Step& of, std::vector<int> in, int k, bool activated = false);
  // Adds to the gradient of a value.
  void accumulate(int value, int contribution);

 private:
  friend void differentiate(Program& program);
  Program& program_;
  std::vector<bool> needs_;
  std::vector<int> gradient_;  // value -> its gradient's value
};

}  // namespace wbsr

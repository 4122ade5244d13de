// What an operator's differentiate() writes into.
#pragma once
#include <vector>

#include "core/program.h"

namespace wbsr {

class Backward {
 public:
  explicit Backward(Program& program);

  // Whether the value depends on parameters: gradients of others are not needed.
  bool needs(int value) const { return needs_[static_cast<size_t>(value)]; }
  // The gradient of the step's output. The residual's share has been taken; the activation's has not.
  int gradient(const Step& step) const { return gradient_[static_cast<size_t>(step.out)]; }
  // The gradient before the step's own activation, for which a step is appended where there is one.
  int beforeActivation(const Step& step);
  const Value& value(int value) const { return program_.values[static_cast<size_t>(value)]; }
  // A new value like that one.
  int like(int value);
  // Appends a step of that kind with the forward step's operator and parameters. The reference holds until the next call.
  Step& push(StepKind kind, const Step& of, std::vector<int> in, int out);
  // The same, whose result is a part of the gradient of the forward step's input k; with the forward step's activation
  // where `activated`.
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

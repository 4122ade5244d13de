// activation: an elementwise function without parameters.
#pragma once
#include <limits>
#include <string>

#include "core/backward.h"
#include "core/error.h"

namespace wbsr::operators {

class Activation final : public Operator {
 public:
  static constexpr StepKind kKind = "activation";  // out = activation(in0)
  static constexpr StepKind kBackward =
      "activation.backward";  // out = dIn from in0 = dOut, in1 = the output (needsInput(): the input)
  StepKind kind() const override { return kKind; }

  Activation(ActivationKind function, float slope) : function_(function), slope_(slope) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) {
    const auto function = static_cast<ActivationKind>(
        1 + a.choice("activation", {"relu", "leakyRelu", "sigmoid", "silu", "gelu", "tanh", "exp", "reciprocal"}));
    const double slope = a.number("slope", 0);
    // The gradient takes the sign of the input from that of the output.
    if (!(slope >= 0 && slope <= std::numeric_limits<float>::max()))
      invalidNode("Expected a number of at least 0 for slope but received " + shown(slope));
    return std::make_shared<Activation>(function,
                                        function == ActivationKind::LeakyRelu ? static_cast<float>(slope) : 0.f);
  }

  ActivationKind function() const { return function_; }
  float slope() const { return slope_; }  // of LeakyRelu, else 0
  // Whether the derivative is computed from the input, because the output does not determine it.
  bool needsInput() const { return function_ == ActivationKind::Silu || function_ == ActivationKind::Gelu; }

  int overwrites(const Step&) const override { return 0; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.gradient(step), needsInput() ? step.in[0] : step.out}, 0);
  }

 private:
  ActivationKind function_;
  float slope_;
};

inline const OperatorEntry activation{"activation", &Activation::read};

}  // namespace wbsr::operators

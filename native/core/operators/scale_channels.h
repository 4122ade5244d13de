// scaleChannels: x (C, H, W) times a pooled value (C, 1, 1).
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class ScaleChannels final : public Operator {
 public:
  static constexpr StepKind kKind = "scaleChannels";                             // out = in0 * in1
  static constexpr StepKind kBackwardInput = "scaleChannels.backwardInput";      // out = dIn from dOut, factors
  static constexpr StepKind kBackwardFactors = "scaleChannels.backwardFactors";  // out = dFactors from dOut, input
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<ScaleChannels>(); }

  int leastInputs() const override { return 2; }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled || !in[1].pooled) invalidNode("scaleChannels takes an image value and a pooled one");
    return in[0];
  }
  Size size(const std::vector<Size>& in) const override { return in[0]; }
  int overwrites(const Step& step) const override { return step.kind == kBackwardFactors ? -1 : 0; }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    if (b.needs(step.in[1])) b.pushInto(kBackwardFactors, step, {g, step.in[0]}, 1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardInput, step, {g, step.in[1]}, 0);
  }
};

inline const OperatorEntry scale_channels{"scaleChannels", &ScaleChannels::read};

}  // namespace wbsr::operators

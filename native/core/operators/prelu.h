// prelu: x where it is positive, else x times a learned slope per channel.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Prelu final : public Operator {
 public:
  static constexpr StepKind kKind = "prelu";                             // out from in0
  static constexpr StepKind kBackwardData = "prelu.backwardData";        // out = dIn from in0 = dOut, in1 = input
  static constexpr StepKind kBackwardWeights = "prelu.backwardWeights";  // gradients from in0 = dOut, in1 = input
  StepKind kind() const override { return kKind; }

  explicit Prelu(const Attributes& a) : name_(a.text("name")) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Prelu>(a); }

  std::string name() const override { return name_; }
  std::vector<ParameterSpec> parameters(const std::vector<Channels>&, const Channels& out) const override {
    return {{name_ + ".weight", {out.full}, {out.ranges}, false, 0.25f}};
  }
  int overwrites(const Step& step) const override { return step.kind == kBackwardWeights ? -1 : 0; }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    b.push(kBackwardWeights, step, {g, step.in[0]}, -1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardData, step, {g, step.in[0]}, 0);
  }

 private:
  std::string name_;
};

inline const OperatorEntry prelu{"prelu", &Prelu::read};

}  // namespace wbsr::operators

// upsample: resize by a whole factor, half-pixel centres, edges clamped.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Upsample final : public Operator {
 public:
  static constexpr StepKind kKind = "upsample";               // out = resize(in0)
  static constexpr StepKind kBackward = "upsample.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit Upsample(const Attributes& a)
      : factor_(a.integer("factor", -(1 << 30), 1 << 30)), cubic_(a.boolean("cubic", false)) {
    if (factor_ < 1 || factor_ > 8) invalidNode("the factor must be between 1 and 8");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Upsample>(a); }

  int factor() const { return factor_; }
  bool cubic() const { return cubic_; }  // else bilinear

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be enlarged");
    return in[0].times(factor_, 1);
  }
  Size size(const std::vector<Size>& in) const override { return {in[0].height * factor_, in[0].width * factor_}; }
  Reach reach(const std::vector<Resolution>&) const override { return {cubic_ ? 2 : 1}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  int factor_;
  bool cubic_;
};

inline const OperatorEntry upsample{"upsample", &Upsample::read};

}  // namespace wbsr::operators

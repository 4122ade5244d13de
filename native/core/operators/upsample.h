// upsample: resize by factor / divisor, half-pixel centres, edges clamped.
#pragma once
#include "core/backward.h"
#include "core/interpolation.h"

namespace wbsr::operators {

class Upsample final : public Operator {
 public:
  static constexpr StepKind kKind = "upsample";               // out = resize(in0)
  static constexpr StepKind kBackward = "upsample.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit Upsample(const Attributes& a)
      : factor_(a.integer("factor", -(1 << 30), 1 << 30)), divisor_(a.integer("divisor", 1, 8, 1)) {
    if (factor_ < 1 || factor_ > 8) invalidNode("the factor must be between 1 and 8");
    // `cubic` is how files of version 0.1 say it.
    const bool cubic = a.boolean("cubic", false);
    interpolation_.mode = cubic ? InterpolationMode::Bicubic : InterpolationMode::Bilinear;
    if (a.has("mode"))
      interpolation_.mode = static_cast<InterpolationMode>(a.choice("mode", {"nearest", "bilinear", "bicubic"}));
    interpolation_.a = static_cast<float>(a.number("a", -0.5));
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Upsample>(a); }

  int factor() const { return factor_; }
  int divisor() const { return divisor_; }
  const Interpolation& interpolation() const { return interpolation_; }
  bool cubic() const { return interpolation_.mode == InterpolationMode::Bicubic; }

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be enlarged");
    return in[0].times(factor_, divisor_);
  }
  Size size(const std::vector<Size>& in) const override {
    return {in[0].height * factor_ / divisor_, in[0].width * factor_ / divisor_};
  }
  Reach reach(const std::vector<Resolution>&) const override {
    return {interpolation_.mode == InterpolationMode::Bicubic ? 2 : 1};
  }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  int factor_, divisor_;
  Interpolation interpolation_;
};

inline const OperatorEntry upsample{"upsample", &Upsample::read};

}  // namespace wbsr::operators

// upsample: resize by factor / divisor, half-pixel centres, edges clamped, no antialiasing.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Upsample final : public Operator {
 public:
  static constexpr StepKind kKind = "upsample";               // out = resize(in0)
  static constexpr StepKind kBackward = "upsample.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }

  enum Mode { Nearest, Bilinear, Bicubic };

  // Networks without `mode` select bicubic by `cubic`.
  explicit Upsample(const Attributes& a)
      : factor_(a.integer("factor", -(1 << 30), 1 << 30)),
        divisor_(a.integer("divisor", 1, 8, 1)),
        mode_(a.boolean("cubic", false) ? Bicubic : Bilinear),
        a_(static_cast<float>(a.number("a", -0.5))) {
    if (factor_ < 1 || factor_ > 8) invalidNode("the factor must be between 1 and 8");
    if (a.has("mode")) mode_ = static_cast<Mode>(a.choice("mode", {"nearest", "bilinear", "bicubic"}));
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Upsample>(a); }

  int factor() const { return factor_; }
  int divisor() const { return divisor_; }
  Mode mode() const { return mode_; }
  float a() const { return a_; }  // of the cubic kernel
  // isClassic: bilinear, or bicubic with a = -0.5, enlarging by a whole factor. cubic() tells these two apart.
  bool cubic() const { return mode_ == Bicubic; }
  bool isClassic() const { return divisor_ == 1 && (mode_ == Bilinear || (mode_ == Bicubic && a_ == -0.5f)); }

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be enlarged");
    return in[0].times(factor_, divisor_);
  }
  Size size(const std::vector<Size>& in) const override {
    return {in[0].height * factor_ / divisor_, in[0].width * factor_ / divisor_};
  }
  Reach reach(const std::vector<Resolution>&) const override { return {mode_ == Bicubic ? 2 : 1}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  int factor_, divisor_;
  Mode mode_;
  float a_;
};

inline const OperatorEntry upsample{"upsample", &Upsample::read};

}  // namespace wbsr::operators

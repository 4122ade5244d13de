// resizeLike: the first input resized to the height and width of the second.
#pragma once
#include "core/backward.h"
#include "core/interpolation.h"

namespace wbsr::operators {

class ResizeLike final : public Operator {
 public:
  static constexpr StepKind kKind = "resizeLike";               // out from in0; in1 gives the size
  static constexpr StepKind kBackward = "resizeLike.backward";  // out = dIn0 from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit ResizeLike(const Attributes& a) {
    if (a.has("mode"))
      interpolation_.mode =
          a.choice("mode", {"bilinear", "nearest"}) == 0 ? InterpolationMode::Bilinear : InterpolationMode::Nearest;
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<ResizeLike>(a); }

  const Interpolation& interpolation() const { return interpolation_; }

  int leastInputs() const override { return 2; }
  Channels channels(const std::vector<Channels>& in, const Width&) const override { return in[0]; }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled || in[1].pooled) invalidNode("resizeLike takes two image values");
    return in[1];
  }
  Size size(const std::vector<Size>& in) const override { return in[1]; }
  // The ratio of the sizes, and so where a pixel comes from, follows from the whole picture.
  Reach reach(const std::vector<Resolution>& in) const override {
    return in[0] == in[1] ? Reach{1} : Reach{0, 1, true};
  }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  Interpolation interpolation_;
};

inline const OperatorEntry resize_like{"resizeLike", &ResizeLike::read};

}  // namespace wbsr::operators

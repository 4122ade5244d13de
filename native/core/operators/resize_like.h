// resizeLike: the first input resized to the height and width of the second; half-pixel centres (align_corners false).
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class ResizeLike final : public Operator {
 public:
  static constexpr StepKind kKind = "resizeLike";               // out = resize(in0) to the size of in1
  static constexpr StepKind kBackward = "resizeLike.backward";  // out = dIn0 from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit ResizeLike(const Attributes& a)
      : nearest_(a.has("mode") && a.choice("mode", {"bilinear", "nearest"}) == 1) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<ResizeLike>(a); }

  bool nearest() const { return nearest_; }  // else bilinear

  int leastInputs() const override { return 2; }
  Channels channels(const std::vector<Channels>& in, const Width&) const override { return in[0]; }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[1].pooled) invalidNode("the second input is a pooled value");
    return in[1];
  }
  Size size(const std::vector<Size>& in) const override { return in[1]; }
  // The ratio of the sizes depends on where the region ends, so no halo makes a region equal to the whole picture.
  Reach reach(const std::vector<Resolution>&) const override { return {0, 1, true}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  bool nearest_;
};

inline const OperatorEntry resize_like{"resizeLike", &ResizeLike::read};

}  // namespace wbsr::operators

// pixelShuffle: (C r^2, H, W) -> (C, H r, W r); channel c r^2 + i r + j goes to row offset i and column offset j.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class PixelShuffle final : public Operator {
 public:
  static constexpr StepKind kKind = "pixelShuffle";  // in0 may be ordered sub-pixel first (Value::groups)
  // out = dIn from in0 = dOut, and in1 = the step's output where Step::activation is not None
  static constexpr StepKind kBackward = "pixelShuffle.backward";
  StepKind kind() const override { return kKind; }

  explicit PixelShuffle(const Attributes& a) : factor_(a.integer("factor", -(1 << 30), 1 << 30)) {
    if (factor_ < 1 || factor_ > 8) invalidNode("the factor must be between 1 and 8");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<PixelShuffle>(a); }

  int factor() const { return factor_; }

  Channels channels(const std::vector<Channels>& in, const Width& at) const override {
    const int square = factor_ * factor_;
    for (const Channels& c : in)
      if (c.count % square != 0)
        invalidNode("pixelShuffle " + std::to_string(factor_) + " needs a multiple of " + std::to_string(square) +
                    " channels, has " + std::to_string(c.count) + " at width " + std::to_string(at.width));
    Channels out{in[0].count / square, in[0].full / square, in[0].ranges};
    for (Range& range : out.ranges) {
      if (range.from % square != 0 || range.count % square != 0)
        invalidNode("pixelShuffle " + std::to_string(factor_) + " needs all sub-pixels of a channel at width " +
                    std::to_string(at.width));
      range = {range.from / square, range.count / square};
    }
    return out;
  }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be enlarged");
    return in[0].times(factor_, 1);
  }
  Size size(const std::vector<Size>& in) const override { return {in[0].height * factor_, in[0].width * factor_}; }
  bool shuffles() const override { return true; }

  void differentiate(const Step& step, Backward& b) const override {
    if (!b.needs(step.in[0])) return;
    const bool activated = step.activation != ActivationKind::None;
    std::vector<int> in{b.gradient(step)};
    if (activated) in.push_back(step.out);
    b.pushInto(kBackward, step, std::move(in), 0, activated);
  }

 private:
  int factor_;
};

inline const OperatorEntry pixel_shuffle{"pixelShuffle", &PixelShuffle::read};

}  // namespace wbsr::operators

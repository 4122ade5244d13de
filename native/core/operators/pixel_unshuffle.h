// pixelUnshuffle: (C, H r, W r) -> (C r^2, H, W); row offset i and column offset j go to channel c r^2 + i r + j.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class PixelUnshuffle final : public Operator {
 public:
  static constexpr StepKind kKind = "pixelUnshuffle";               // out from in0
  static constexpr StepKind kBackward = "pixelUnshuffle.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit PixelUnshuffle(const Attributes& a) : factor_(a.integer("factor", 1, 8)) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<PixelUnshuffle>(a); }

  int factor() const { return factor_; }

  Channels channels(const std::vector<Channels>& in, const Width&) const override {
    const int square = factor_ * factor_;
    Channels out{in[0].count * square, in[0].full * square, in[0].ranges};
    for (Range& range : out.ranges) range = {range.from * square, range.count * square};
    return out;
  }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value has one pixel");
    return in[0].times(1, factor_);
  }
  Size size(const std::vector<Size>& in) const override {
    if (in[0].height % factor_ != 0 || in[0].width % factor_ != 0)
      invalidNode("sides of " + std::to_string(in[0].width) + "x" + std::to_string(in[0].height) +
                  " are not multiples of " + std::to_string(factor_));
    return {in[0].height / factor_, in[0].width / factor_};
  }
  // Of the input's pixels, from the centre of an output pixel.
  Reach reach(const std::vector<Resolution>&) const override { return {factor_ - 1, 2}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  int factor_;
};

inline const OperatorEntry pixel_unshuffle{"pixelUnshuffle", &PixelUnshuffle::read};

}  // namespace wbsr::operators

// multiply: the elementwise product; the second input may have one channel at every width, for all channels of the first.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Multiply final : public Operator {
 public:
  static constexpr StepKind kKind = "multiply";                           // out = in0 * in1
  static constexpr StepKind kBackwardFirst = "multiply.backwardFirst";    // out = dIn0 from in0 = dOut, in1 = input 1
  static constexpr StepKind kBackwardSecond = "multiply.backwardSecond";  // out = dIn1 from in0 = dOut, in1 = input 0
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<Multiply>(); }

  int leastInputs() const override { return 2; }
  Channels channels(const std::vector<Channels>& in, const Width& at) const override {
    if (in[1].count == 1 && in[1].full == 1) return in[0];
    return Operator::channels(in, at);
  }
  int overwrites(const Step& step) const override { return step.kind == kBackwardSecond ? -1 : 0; }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    if (b.needs(step.in[1])) b.pushInto(kBackwardSecond, step, {g, step.in[0]}, 1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardFirst, step, {g, step.in[1]}, 0);
  }
};

inline const OperatorEntry multiply{"multiply", &Multiply::read};

}  // namespace wbsr::operators

// concat: the channels of 2 to 16 values one after the other. In a subnet each part keeps its own first channels.
#pragma once
#include "core/operators/slice.h"

namespace wbsr::operators {

class Concat final : public Operator {
 public:
  static constexpr StepKind kKind = "concat";  // out = in0, in1, ...; its backward steps are slices
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<Concat>(); }

  int leastInputs() const override { return 2; }
  int mostInputs() const override { return 16; }
  Channels channels(const std::vector<Channels>& in, const Width&) const override {
    Channels out;
    for (const Channels& part : in) {
      for (const Range& range : part.ranges) out.ranges.push_back({out.full + range.from, range.count});
      out.count += part.count;
      out.full += part.full;
    }
    out.ranges = merged(out.ranges);
    return out;
  }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    int from = 0;
    for (size_t k = 0; k < step.in.size(); ++k) {
      const int channels = b.value(step.in[k]).channels;
      if (b.needs(step.in[k])) {
        Step part = step;
        part.op = std::make_shared<Slice>(from, channels);
        b.pushInto(Slice::kKind, part, {g}, static_cast<int>(k));
      }
      from += channels;
    }
  }
};

inline const OperatorEntry concat{"concat", &Concat::read};

}  // namespace wbsr::operators

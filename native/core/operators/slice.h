// slice: channels [from, from + channels) of the input.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Slice final : public Operator {
 public:
  static constexpr StepKind kKind = "slice";               // out = in0[from() : ]
  static constexpr StepKind kBackward = "slice.backward";  // out = dIn, 0 beside the slice, from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit Slice(const Attributes& a) : from_(a.channels("from")), count_(a.channels("channels")) {}
  Slice(int from, int count) {
    from_.fixed = from;
    count_.fixed = count;
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Slice>(a); }

  int from() const { return from_.fixed; }  // of a step's operator (atWidth)

  Channels channels(const std::vector<Channels>& in, const Width& at) const override {
    const Channels out = channelsOf(count_, at);
    const int64_t from = from_.at(at.width);
    if (from < 0 || from + out.count > in[0].count)
      invalidNode("channels " + std::to_string(from) + " to " + std::to_string(from + out.count - 1) + " of " +
                  std::to_string(in[0].count) + " at width " + std::to_string(at.width));
    // Where all that the slice holds is in the slice of the largest width, its channels are those; else the first ones.
    std::vector<int> held = indicesOf(in[0].ranges);
    held = {held.begin() + from, held.begin() + from + out.count};
    const int64_t first = from_.at(at.largest);
    if (held.front() < first || held.back() >= first + out.full) return out;
    for (int& channel : held) channel -= static_cast<int>(first);
    return {out.count, out.full, rangesOf(held)};
  }
  std::shared_ptr<const Operator> atWidth(const Width& at) const override {
    return std::make_shared<Slice>(static_cast<int>(from_.at(at.width)), static_cast<int>(count_.at(at.width)));
  }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  ChannelRule from_, count_;
};

inline const OperatorEntry slice{"slice", &Slice::read};

}  // namespace wbsr::operators

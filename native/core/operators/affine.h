// affine: x * scale + offset with constants, one for all channels or one per channel.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Affine final : public Operator {
 public:
  static constexpr StepKind kKind = "affine";               // out = in0 * scale + offset
  static constexpr StepKind kBackward = "affine.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }

  explicit Affine(const Attributes& a) : scale_(a.numbers("scale", {1})), offset_(a.numbers("offset", {0})) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Affine>(a); }

  float scale(int channel) const { return at(scale_, channel); }
  float offset(int channel) const { return at(offset_, channel); }

  Channels channels(const std::vector<Channels>& in, const Width& at) const override {
    for (const auto* numbers : {&scale_, &offset_})
      if (numbers->size() > 1 && static_cast<int>(numbers->size()) != in[0].count)
        invalidNode("affine has " + std::to_string(numbers->size()) + " constants for " + std::to_string(in[0].count) +
                    " channels at width " + std::to_string(at.width));
    return in[0];
  }
  int overwrites(const Step&) const override { return 0; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }

 private:
  static float at(const std::vector<double>& numbers, int channel) {
    return static_cast<float>(numbers[numbers.size() > 1 ? static_cast<size_t>(channel) : 0]);
  }
  std::vector<double> scale_, offset_;
};

inline const OperatorEntry affine{"affine", &Affine::read};

}  // namespace wbsr::operators

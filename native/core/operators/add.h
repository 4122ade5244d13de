// add: the elementwise sum of two values.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Add final : public Operator {
 public:
  static constexpr StepKind kKind = "add";  // out = in0 + in1
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<Add>(); }

  int leastInputs() const override { return 2; }
  int overwrites(const Step&) const override { return 0; }
  void differentiate(const Step& step, Backward& b) const override {
    for (const int in : step.in)
      if (b.needs(in)) b.accumulate(in, b.gradient(step));
  }
};

inline const OperatorEntry add{"add", &Add::read};

}  // namespace wbsr::operators

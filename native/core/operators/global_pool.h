// globalPool: mean over height and width, (C, H, W) -> (C, 1, 1).
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class GlobalPool final : public Operator {
 public:
  static constexpr StepKind kKind = "globalPool";               // out = mean over the pixels of in0
  static constexpr StepKind kBackward = "globalPool.backward";  // out = dIn from in0 = dOut
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<GlobalPool>(); }

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be pooled again");
    return {1, 1, true};
  }
  Size size(const std::vector<Size>&) const override { return {1, 1}; }
  Reach reach(const std::vector<Resolution>&) const override { return {0, 1, true}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (b.needs(step.in[0])) b.pushInto(kBackward, step, {b.beforeActivation(step)}, 0);
  }
};

inline const OperatorEntry global_pool{"globalPool", &GlobalPool::read};

}  // namespace wbsr::operators

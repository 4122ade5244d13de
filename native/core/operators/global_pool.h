// globalPool: mean or (population) standard deviation over height and width, (C, H, W) -> (C, 1, 1).
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class GlobalPool final : public Operator {
 public:
  static constexpr StepKind kKind = "globalPool";  // out = mean or deviation over the pixels of in0
  static constexpr StepKind kBackward =
      "globalPool.backward";  // out = dIn from in0 = dOut; std: in1 = the output, in2 = input
  StepKind kind() const override { return kKind; }

  explicit GlobalPool(const Attributes& a) : deviation_(a.has("kind") && a.choice("kind", {"mean", "std"}) == 1) {}
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<GlobalPool>(a); }

  bool deviation() const { return deviation_; }  // else the mean

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be pooled again");
    return {1, 1, true};
  }
  Size size(const std::vector<Size>&) const override { return {1, 1}; }
  Reach reach(const std::vector<Resolution>&) const override { return {0, 1, true}; }
  void differentiate(const Step& step, Backward& b) const override {
    if (!b.needs(step.in[0])) return;
    std::vector<int> in{b.beforeActivation(step)};
    if (deviation_) in.insert(in.end(), {step.out, step.in[0]});
    b.pushInto(kBackward, step, std::move(in), 0);
  }

 private:
  bool deviation_;
};

inline const OperatorEntry global_pool{"globalPool", &GlobalPool::read};

}  // namespace wbsr::operators

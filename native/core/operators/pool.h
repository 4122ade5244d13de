// pool: maximum or average over windows. Adaptive: to max(1, floor(n / factor)) pixels, with PyTorch's windows.
#pragma once
#include <algorithm>

#include "core/backward.h"

namespace wbsr::operators {

class Pool final : public Operator {
 public:
  static constexpr StepKind kKind = "pool";               // out from in0
  static constexpr StepKind kBackward = "pool.backward";  // out = dIn from in0 = dOut, and in1 = input (maximum only)
  StepKind kind() const override { return kKind; }

  explicit Pool(const Attributes& a)
      : average_(a.choice("kind", {"max", "average"}) == 1), adaptive_(a.boolean("adaptive", false)) {
    if (adaptive_) {
      factor_ = a.integer("factor", 1, 64);
      return;
    }
    kernel_ = a.integer("kernel", 1, 64);
    factor_ = a.integer("stride", 1, 64, kernel_);
    padding_ = a.integer("padding", 0, 32, 0);
    if (2 * padding_ > kernel_) invalidNode("the padding must be at most half of the kernel");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Pool>(a); }

  bool average() const { return average_; }  // else maximum

  // Input samples that output sample o of an axis covers, inside the input: [first, last), and how many an average
  // divides by (with the padding, as PyTorch by default).
  struct Window {
    int first, last, count;
  };
  Window window(int o, int in, int out) const {
    if (adaptive_) {
      const int first = static_cast<int>(int64_t{o} * in / out);
      const int last = static_cast<int>((int64_t{o + 1} * in + out - 1) / out);
      return {first, last, last - first};
    }
    const int from = o * factor_ - padding_, to = std::min(from + kernel_, in + padding_);
    return {std::max(0, from), std::min(in, to), to - from};
  }

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be pooled again");
    return in[0].times(1, factor_);
  }
  Size size(const std::vector<Size>& in) const override { return {sizeOf(in[0].height), sizeOf(in[0].width)}; }
  // The windows of adaptive pooling depend on where the region ends.
  Reach reach(const std::vector<Resolution>&) const override {
    if (adaptive_) return {0, 1, true};
    const int before = 2 * padding_ + factor_ - 1, after = 2 * (kernel_ - 1 - padding_) - (factor_ - 1);
    return {std::max({before, after, 0}), 2};
  }
  void differentiate(const Step& step, Backward& b) const override {
    if (!b.needs(step.in[0])) return;
    std::vector<int> in{b.beforeActivation(step)};
    if (!average_) in.push_back(step.in[0]);
    b.pushInto(kBackward, step, std::move(in), 0);
  }

 private:
  int sizeOf(int n) const {
    if (adaptive_) return std::max(1, n / factor_);
    return n + 2 * padding_ < kernel_ ? 0 : (n + 2 * padding_ - kernel_) / factor_ + 1;
  }
  bool average_, adaptive_;
  int kernel_ = 1, factor_ = 1, padding_ = 0;  // factor: of the adaptive one, else the stride
};

inline const OperatorEntry pool{"pool", &Pool::read};

}  // namespace wbsr::operators

// pool: the largest or the mean value of windows. With `adaptive` the windows follow from the output's size,
// max(1, floor(size / factor)), as PyTorch's adaptive pooling places them; else they are kernel x kernel, `stride` apart.
#pragma once
#include <algorithm>

#include "core/backward.h"

namespace wbsr::operators {

class Pool final : public Operator {
 public:
  static constexpr StepKind kKind = "pool";
  // out = dIn from in0 = dOut; the largest value also needs in1 = the step's input.
  static constexpr StepKind kBackward = "pool.backward";
  StepKind kind() const override { return kKind; }

  explicit Pool(const Attributes& a)
      : max_(a.choice("kind", {"average", "max"}) == 1), adaptive_(a.boolean("adaptive", false)) {
    if (adaptive_) {
      factor_ = a.integer("factor", 1, 64);
      return;
    }
    kernel_ = a.integer("kernel", 1, 31);
    stride_ = a.integer("stride", 1, 16, 1);
    padding_ = a.integer("padding", 0, 15, 0);
    if (2 * padding_ > kernel_)
      invalidNode("Expected at most half of the kernel for padding but received " + std::to_string(padding_));
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Pool>(a); }

  bool max() const { return max_; }  // else the mean
  bool adaptive() const { return adaptive_; }

  // Input positions [from, from + count) of output position `index` along an axis of `in` pixels, of which `out` come out.
  // Of windows that reach over the border only what lies inside.
  Range window(int index, int in, int out) const {
    if (adaptive_) {
      const int from = static_cast<int>(int64_t{index} * in / out);
      return {from, static_cast<int>((int64_t{index + 1} * in + out - 1) / out) - from};
    }
    const int first = index * stride_ - padding_, from = std::max(0, first);
    return {from, std::min(in, first + kernel_) - from};
  }
  // What the sum of a window is divided by: padding counts as zeros (PyTorch's count_include_pad).
  int area(const Range& rows, const Range& columns) const {
    return adaptive_ ? rows.count * columns.count : kernel_ * kernel_;
  }

  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be pooled again");
    return in[0].times(1, adaptive_ ? factor_ : stride_);
  }
  Size size(const std::vector<Size>& in) const override {
    const auto along = [this](int n) {
      return adaptive_ ? std::max(1, n / factor_) : (n + 2 * padding_ - kernel_ + stride_) / stride_;
    };
    return {along(in[0].height), along(in[0].width)};
  }
  // Where windows are apart, what a pixel sees depends on where the picture begins.
  Reach reach(const std::vector<Resolution>&) const override {
    if (adaptive_ || stride_ > 1) return {0, 1, true};
    return {std::max(padding_, kernel_ - 1 - padding_)};
  }
  void differentiate(const Step& step, Backward& b) const override {
    if (!b.needs(step.in[0])) return;
    std::vector<int> in{b.beforeActivation(step)};
    if (max_) in.push_back(step.in[0]);
    b.pushInto(kBackward, step, std::move(in), 0);
  }

 private:
  bool max_, adaptive_;
  int kernel_ = 0, stride_ = 1, padding_ = 0, factor_ = 1;
};

inline const OperatorEntry pool{"pool", &Pool::read};

}  // namespace wbsr::operators

// conv: k x k cross-correlation with zero padding, weight (O, I, k, k).
#pragma once
#include <algorithm>
#include <cmath>

#include "core/backward.h"

namespace wbsr::operators {

class Conv final : public Operator {
 public:
  static constexpr StepKind kKind = "conv";                             // out from in0
  static constexpr StepKind kBackwardData = "conv.backwardData";        // out = dIn from in0 = dOut
  static constexpr StepKind kBackwardWeights = "conv.backwardWeights";  // gradients from in0 = input, in1 = dOut
  static constexpr size_t kWeight = 0, kBias = 1;                       // Step::parameters; no kBias without a bias
  StepKind kind() const override { return kKind; }

  explicit Conv(const Attributes& a)
      : name_(a.text("name")),
        rule_(a.channels("channels")),
        kernel_(a.integer("kernel", 1, 15)),
        bias_(a.boolean("bias", true)),
        initGain_(static_cast<float>(a.number("initGain", 1))) {
    if (kernel_ % 2 == 0) invalidNode("the kernel must be odd and at most 15");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Conv>(a); }

  int kernel() const { return kernel_; }
  int padding() const { return kernel_ / 2; }

  std::string name() const override { return name_; }
  Channels channels(const std::vector<Channels>&, const Width& at) const override { return channelsOf(rule_, at); }
  Reach reach(const std::vector<Resolution>&) const override { return {kernel_ / 2}; }
  int64_t multiplications(const std::vector<Channels>& in, const Channels& out, int64_t,
                          int64_t outPixels) const override {
    return int64_t{kernel_} * kernel_ * in[0].count * out.count * outPixels;
  }
  std::vector<ParameterSpec> parameters(const std::vector<Channels>& in, const Channels& out) const override {
    const int k = kernel_;
    // Kaiming normal: gain * sqrt(2 / fan_in).
    std::vector<ParameterSpec> specs{{name_ + ".weight",
                                      {out.full, in[0].full, k, k},
                                      {out.ranges, in[0].ranges, {{0, k}}, {{0, k}}},
                                      true,
                                      initGain_ * std::sqrt(2.f / (in[0].full * k * k))}};
    if (bias_) specs.push_back({name_ + ".bias", {out.full}, {out.ranges}});
    return specs;
  }
  bool ordersChannels() const override { return true; }

  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    b.push(kBackwardWeights, step, {step.in[0], g}, -1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardData, step, {g}, 0);
  }

 private:
  std::string name_;
  ChannelRule rule_;
  int kernel_;
  bool bias_;
  float initGain_;
};

inline const OperatorEntry conv{"conv", &Conv::read};

}  // namespace wbsr::operators

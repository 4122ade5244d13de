// conv: k x k cross-correlation with zero padding, weight (O, I / groups, k, k); depthwise: one filter per channel, weight
// (C, 1, k, k). In a subnet each of several groups keeps its own first channels, on both sides. `order`: a subnet keeps
// the first of these channels, in ascending order, instead of the first channels.
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
        depthwise_(a.boolean("depthwise", false)),
        rule_(depthwise_ ? ChannelRule{} : a.channels("channels")),
        order_(a.integers("order", 0, kMostChannels - 1)),
        kernel_(a.integer("kernel", 1, 15)),
        stride_(a.integer("stride", 1, 8, 1)),
        padding_(a.integer("padding", 0, 15, kernel_ / 2)),
        groups_(a.integer("groups", 1, 1 << 16, 1)),
        bias_(a.boolean("bias", true)),
        initGain_(static_cast<float>(a.number("initGain", 1))) {
    if (padding_ >= kernel_) invalidNode("the padding must be smaller than the kernel");
    if (depthwise_ && groups_ != 1) invalidNode("a depthwise convolution has no groups");
    if (!order_.empty() && (depthwise_ || groups_ != 1))
      invalidNode("channels of a depthwise convolution and of one in groups have no order");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Conv>(a); }

  int kernel() const { return kernel_; }
  int stride() const { return stride_; }
  int padding() const { return padding_; }
  int groups() const { return groups_; }
  bool depthwise() const { return depthwise_; }
  // Stride 1, and as many pixels out as in.
  bool keepsSize() const { return stride_ == 1 && 2 * padding_ + 1 == kernel_; }

  std::string name() const override { return name_; }
  Channels channels(const std::vector<Channels>& in, const Width& at) const override {
    if (depthwise_) return in[0];
    const Channels out = channelsOf(rule_, at, order_);
    if (groups_ == 1) return out;
    for (const Channels* side : {&in[0], &out})
      if (side->count % groups_ != 0 || side->full % groups_ != 0)
        invalidNode(std::to_string(groups_) + " groups of " + std::to_string(side->count) + " channels at width " +
                    std::to_string(at.width));
    Ranges parts;
    for (int g = 0; g < groups_; ++g) parts.push_back({g * (out.full / groups_), out.count / groups_});
    return {out.count, out.full, merged(parts)};
  }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled && !keepsSize()) invalidNode("a pooled value has one pixel: stride 1 and padding kernel / 2 only");
    return in[0].times(1, stride_);
  }
  Size size(const std::vector<Size>& in) const override {
    const auto out = [this](int n) {
      return n + 2 * padding_ < kernel_ ? 0 : (n + 2 * padding_ - kernel_) / stride_ + 1;
    };
    return {out(in[0].height), out(in[0].width)};
  }
  // From the centre of an output pixel, which lies (stride - 1) / 2 behind its first input pixel.
  Reach reach(const std::vector<Resolution>&) const override {
    const int before = 2 * padding_ + stride_ - 1, after = 2 * (kernel_ - 1 - padding_) - (stride_ - 1);
    return {std::max(before, after), 2};
  }
  int64_t multiplications(const std::vector<Channels>& in, const Channels& out, int64_t,
                          int64_t outPixels) const override {
    return int64_t{kernel_} * kernel_ * inputsOf(in[0].count) * out.count * outPixels;
  }
  std::vector<ParameterSpec> parameters(const std::vector<Channels>& in, const Channels& out) const override {
    const int k = kernel_;
    // Kaiming normal: gain * sqrt(2 / fan_in).
    const int fullInputs = inputsOf(in[0].full);
    const Ranges inputs = depthwise_ || groups_ > 1 ? Ranges{{0, inputsOf(in[0].count)}} : in[0].ranges;
    std::vector<ParameterSpec> specs{{name_ + ".weight",
                                      {out.full, fullInputs, k, k},
                                      {out.ranges, inputs, {{0, k}}, {{0, k}}},
                                      true,
                                      initGain_ * std::sqrt(2.f / (fullInputs * k * k))}};
    if (bias_) specs.push_back({name_ + ".bias", {out.full}, {out.ranges}});
    return specs;
  }
  bool ordersChannels() const override { return keepsSize() && groups_ == 1 && !depthwise_; }

  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    b.push(kBackwardWeights, step, {step.in[0], g}, -1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardData, step, {g}, 0);
  }

 private:
  int inputsOf(int channels) const { return depthwise_ ? 1 : channels / groups_; }

  std::string name_;
  bool depthwise_;
  ChannelRule rule_;
  std::vector<int> order_;
  int kernel_, stride_, padding_, groups_;
  bool bias_;
  float initGain_;
};

inline const OperatorEntry conv{"conv", &Conv::read};

}  // namespace wbsr::operators

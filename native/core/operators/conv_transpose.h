// convTranspose: PyTorch's transposed convolution, weight (I, O, k, k); the output has `stride` times the input's size.
#pragma once
#include <algorithm>
#include <cmath>

#include "core/backward.h"

namespace wbsr::operators {

class ConvTranspose final : public Operator {
 public:
  static constexpr StepKind kKind = "convTranspose";                       // out from in0
  static constexpr StepKind kBackwardData = "convTranspose.backwardData";  // out = dIn from in0 = dOut
  static constexpr StepKind kBackwardWeights =
      "convTranspose.backwardWeights";             // gradients from in0 = input, in1 = dOut
  static constexpr size_t kWeight = 0, kBias = 1;  // Step::parameters; no kBias without a bias
  StepKind kind() const override { return kKind; }

  explicit ConvTranspose(const Attributes& a)
      : name_(a.text("name")),
        rule_(a.channels("channels")),
        order_(a.integers("order", 0, kMostChannels - 1)),
        kernel_(a.integer("kernel", 1, 15)),
        stride_(a.integer("stride", 1, 8)),
        padding_(a.integer("padding", 0, 15)),
        bias_(a.boolean("bias", true)),
        initGain_(static_cast<float>(a.number("initGain", 1))) {
    const int outputPadding = a.integer("outputPadding", 0, 7, 0);
    if (kernel_ - stride_ - 2 * padding_ + outputPadding != 0 || outputPadding >= stride_)
      invalidNode("kernel - 2 padding + outputPadding must be the stride, so that the output is stride times as large");
    if (padding_ >= kernel_) invalidNode("the padding must be smaller than the kernel");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<ConvTranspose>(a); }

  int kernel() const { return kernel_; }
  int stride() const { return stride_; }
  int padding() const { return padding_; }

  std::string name() const override { return name_; }
  Channels channels(const std::vector<Channels>&, const Width& at) const override {
    return channelsOf(rule_, at, order_);
  }
  Resolution resolution(const std::vector<Resolution>& in) const override {
    if (in[0].pooled) invalidNode("a pooled value cannot be enlarged");
    return in[0].times(stride_, 1);
  }
  Size size(const std::vector<Size>& in) const override { return {in[0].height * stride_, in[0].width * stride_}; }
  // Output pixel y reads inputs i with 0 <= y + padding - i stride < kernel; from its centre, in input pixels.
  Reach reach(const std::vector<Resolution>&) const override {
    const int before = 2 * (kernel_ - 1 - padding_) + 1 - stride_, after = 2 * padding_ - 1 + stride_;
    return {std::max({before, after, 0}), 2 * stride_};
  }
  int64_t multiplications(const std::vector<Channels>& in, const Channels& out, int64_t inPixels,
                          int64_t) const override {
    return int64_t{kernel_} * kernel_ * in[0].count * out.count * inPixels;
  }
  std::vector<ParameterSpec> parameters(const std::vector<Channels>& in, const Channels& out) const override {
    const int k = kernel_;
    // An output pixel reads kernel / stride inputs per axis.
    const float fanIn = static_cast<float>(in[0].full * k * k) / static_cast<float>(stride_ * stride_);
    std::vector<ParameterSpec> specs{{name_ + ".weight",
                                      {in[0].full, out.full, k, k},
                                      {in[0].ranges, out.ranges, {{0, k}}, {{0, k}}},
                                      true,
                                      initGain_ * std::sqrt(2.f / fanIn)}};
    if (bias_) specs.push_back({name_ + ".bias", {out.full}, {out.ranges}});
    return specs;
  }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    b.push(kBackwardWeights, step, {step.in[0], g}, -1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardData, step, {g}, 0);
  }

 private:
  std::string name_;
  ChannelRule rule_;
  std::vector<int> order_;
  int kernel_, stride_, padding_;
  bool bias_;
  float initGain_;
};

inline const OperatorEntry conv_transpose{"convTranspose", &ConvTranspose::read};

}  // namespace wbsr::operators

// layerNorm: over the channels of each pixel, (x - mean) / sqrt(variance + epsilon) * weight + bias.
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class LayerNorm final : public Operator {
 public:
  static constexpr StepKind kKind = "layerNorm";                             // out from in0
  static constexpr StepKind kBackwardData = "layerNorm.backwardData";        // out = dIn from in0 = dOut, in1 = input
  static constexpr StepKind kBackwardWeights = "layerNorm.backwardWeights";  // gradients from in0 = dOut, in1 = input
  static constexpr size_t kWeight = 0, kBias = 1;                            // Step::parameters
  StepKind kind() const override { return kKind; }

  explicit LayerNorm(const Attributes& a)
      : name_(a.text("name")), epsilon_(static_cast<float>(a.number("epsilon", 1e-6))) {
    if (!(epsilon_ > 0)) invalidNode("epsilon must be positive");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<LayerNorm>(a); }

  float epsilon() const { return epsilon_; }

  std::string name() const override { return name_; }
  std::vector<ParameterSpec> parameters(const std::vector<Channels>&, const Channels& out) const override {
    return {{name_ + ".weight", {out.full}, {out.ranges}, false, 1.f}, {name_ + ".bias", {out.full}, {out.ranges}}};
  }
  void differentiate(const Step& step, Backward& b) const override {
    const int g = b.beforeActivation(step);
    b.push(kBackwardWeights, step, {g, step.in[0]}, -1);
    if (b.needs(step.in[0])) b.pushInto(kBackwardData, step, {g, step.in[0]}, 0);
  }

 private:
  std::string name_;
  float epsilon_;
};

inline const OperatorEntry layer_norm{"layerNorm", &LayerNorm::read};

}  // namespace wbsr::operators

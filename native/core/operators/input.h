// input: the LR image, RGB in [0, 1].
#pragma once
#include "core/backward.h"

namespace wbsr::operators {

class Input final : public Operator {
 public:
  static constexpr StepKind kKind = "input";
  StepKind kind() const override { return kKind; }

  explicit Input(const Attributes& a) : rule_(a.channels("channels")) {
    if (rule_.scaled || rule_.fixed != 3) invalidNode("the input has 3 channels");
  }
  static std::shared_ptr<const Operator> read(const Attributes& a) { return std::make_shared<Input>(a); }

  bool isInput() const override { return true; }
  int leastInputs() const override { return 0; }
  Channels channels(const std::vector<Channels>&, const Width& at) const override { return channelsOf(rule_, at); }
  Resolution resolution(const std::vector<Resolution>&) const override { return {}; }
  void differentiate(const Step&, Backward&) const override {}

 private:
  ChannelRule rule_;
};

inline const OperatorEntry input{"input", &Input::read};

}  // namespace wbsr::operators

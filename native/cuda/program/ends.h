// Forward steps that this device runs as the end of a convolution, beyond what core's fuse() joins.
#pragma once
#include "core/program.h"

namespace wbsr::cuda {

// out = conv(in0) + upsample(in1), for thin results. Its operator is a ConvOnto.
inline constexpr StepKind kConvOnto = "conv.upsample";
class ConvOnto final : public Operator {
 public:
  ConvOnto(std::shared_ptr<const Operator> conv, std::shared_ptr<const Operator> upsample)
      : conv_(std::move(conv)), upsample_(std::move(upsample)) {}
  StepKind kind() const override { return kConvOnto; }
  void differentiate(const Step&, Backward&) const override;  // throws: the backward steps are those of both
  const Operator& conv() const { return *conv_; }
  const Operator& upsample() const { return *upsample_; }

 private:
  std::shared_ptr<const Operator> conv_, upsample_;
};

// Joins pixel shuffles of wide values (core/shuffled_conv.h) and the additions of enlarged values. half: wide values are
// bf16. After differentiate(), whose steps stay as they are.
void fuseEnds(Program& program, bool half);

}  // namespace wbsr::cuda

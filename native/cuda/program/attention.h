// Channel attention's factors as one step of this device: the mean over the pixels and two fully connected layers, which
// would be four launches of a microsecond's work each.
#pragma once
#include "core/program.h"
#include "cuda/program/step_compiler.h"

namespace wbsr::cuda {

// out = activation(excite(squeezed(squeeze(mean over the pixels of in0)))); its operator is an AttentionFactors. The
// parameters are those of squeeze, then those of excite.
inline constexpr StepKind kAttention = "globalPool.conv.conv";
class AttentionFactors final : public Operator {
 public:
  AttentionFactors(const Step& squeeze, const Step& excite) : squeeze_(squeeze), excite_(excite) {}
  StepKind kind() const override { return kAttention; }
  void differentiate(const Step&, Backward&) const override;  // throws: training keeps the steps apart
  const Step& squeeze() const { return squeeze_; }
  const Step& excite() const { return excite_; }

 private:
  const Step squeeze_, excite_;
};

// Where nothing else reads the values between, so in inference.
void fuseAttention(Program& program);
void compileAttention(StepCompiler& compiler, const Step& step);

}  // namespace wbsr::cuda

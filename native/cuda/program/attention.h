// Channel attention's factors as one step of this device: the mean over the pixels and two fully connected layers, which
// would be four launches of a microsecond's work each. The convolution before it leaves the sums, so that its result is
// not read for the mean.
//
// The scaled addition behind it is a pass of its own. The next convolution could make the sum while it loads its tiles,
// but a block's result is also the skip of the next block and has to be written in any case. Per pixel of 64 bf16
// channels, 128 bytes, the pass and the next convolution move 3 x 128 + 1.3 x 128 = 550 bytes (1.3: with the tiles'
// halo), and together they would move 2 x 1.3 x 128 + 128 = 461. For these 16 % the loads would go through registers
// instead of running beside the products (copyAsync), each halo pixel would be scaled and added twice, and convolutions
// by cuDNN, with which ours are compared by time, would need the pass still.
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

// out = conv(in0), which leaves sums of its result for the kAttention behind it. Its operator is the convolution's.
inline constexpr StepKind kConvSums = "conv.sums";

// Where nothing else reads the values between, so in inference.
void fuseAttention(Program& program);
void compileAttention(StepCompiler& compiler, const Step& step);

}  // namespace wbsr::cuda

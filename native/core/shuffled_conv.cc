#include "core/shuffled_conv.h"

#include "core/operators/conv.h"
#include "core/operators/pixel_shuffle.h"

namespace wbsr {
namespace {

using operators::Conv;
using operators::PixelShuffle;

bool fuseShuffle(Program& program, const Uses& uses, size_t index, const TakesShuffle& takes) {
  const Step& shuffle = program.steps[index];
  if (shuffle.kind != PixelShuffle::kKind || shuffle.residual >= 0) return false;
  const int factor = shuffle.as<PixelShuffle>().factor(), value = shuffle.in[0];
  const int producer = uses.producer[static_cast<size_t>(value)];
  if (factor == 1 || producer < 0 || uses.count[static_cast<size_t>(value)] != 1) return false;
  const Step& conv = program.steps[static_cast<size_t>(producer)];
  if (conv.kind != Conv::kKind || conv.residual >= 0 || conv.activation != ActivationKind::None || conv.in.size() > 1)
    return false;
  const Conv& op = conv.as<Conv>();
  if (!op.keepsSize() || op.groups() > 1 || op.depthwise()) return false;
  if (program.values[static_cast<size_t>(value)].groups != factor * factor || !takes(program, conv, shuffle))
    return false;
  Step fused = conv;
  fused.kind = kConvShuffled;
  fused.activation = shuffle.activation;
  fused.slope = shuffle.slope;
  fused.out = shuffle.out;
  program.steps[index] = std::move(fused);
  program.steps.erase(program.steps.begin() + producer);
  return true;
}

}  // namespace

void fuseShuffles(Program& program, const TakesShuffle& takes) {
  Uses uses(program);
  for (int i = 0; i < program.forwardSteps;) {
    if (!fuseShuffle(program, uses, static_cast<size_t>(i), takes)) {
      ++i;
      continue;
    }
    --program.forwardSteps;
    uses = Uses(program);
  }
}

}  // namespace wbsr

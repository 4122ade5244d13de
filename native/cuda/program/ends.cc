#include "cuda/program/ends.h"

#include "core/error.h"
#include "core/operators/conv.h"
#include "core/operators/upsample.h"
#include "core/shuffled_conv.h"
#include "cuda/conv/tile_conv.h"
#include "cuda/program/layout.h"

namespace wbsr::cuda {
namespace {

using operators::Conv;
using operators::Upsample;

// The convolution whose result the step at `index` alone reads, as `value`; -1: none, or it has an end already.
int bareConvOf(const Program& program, const Uses& uses, int value) {
  if (value < 0 || uses.count[static_cast<size_t>(value)] != 1) return -1;
  const int producer = uses.producer[static_cast<size_t>(value)];
  if (producer < 0) return -1;
  const Step& step = program.steps[static_cast<size_t>(producer)];
  const bool bare = step.kind == Conv::kKind && step.residual < 0 && step.activation == ActivationKind::None;
  return bare && step.as<Conv>().keepsSize() && step.as<Conv>().groups() == 1 && !step.as<Conv>().depthwise() ? producer
                                                                                                              : -1;
}

// conv + upsample: the enlarged value is the second addend of the step at `index`.
bool fuseOnto(Program& program, const Uses& uses, size_t index) {
  const Step& upsample = program.steps[index];
  if (upsample.kind != Upsample::kKind || upsample.activation != ActivationKind::None) return false;
  const int producer = bareConvOf(program, uses, upsample.residual);
  if (producer < 0 || !upsample.as<Upsample>().isClassic()) return false;
  const Step& conv = program.steps[static_cast<size_t>(producer)];
  const Layout in = layoutOf(program.values[static_cast<size_t>(conv.in[0])]),
               small = layoutOf(program.values[static_cast<size_t>(upsample.in[0])]),
               out = layoutOf(program.values[static_cast<size_t>(upsample.out)]);
  if (in.kind != Layout::Wide || small.kind != Layout::Thin || out.kind != Layout::Thin) return false;
  const auto& op = upsample.as<Upsample>();
  const TileConv shape{
      program.batch,        out.height, out.width, in.paddedChannels, out.paddedChannels, 1, conv.as<Conv>().kernel(),
      ActivationKind::None, 0.f};
  if (!hasTileConvOnto(shape, {op.factor(), op.cubic(), out.channels})) return false;
  Step fused = conv;
  fused.kind = kConvOnto;
  fused.op = std::make_shared<ConvOnto>(conv.op, upsample.op);
  fused.in.push_back(upsample.in[0]);
  fused.out = upsample.out;
  program.steps[index] = std::move(fused);
  program.steps.erase(program.steps.begin() + producer);
  return true;
}

}  // namespace

void ConvOnto::differentiate(const Step&, Backward&) const { WBSR_CHECK(false); }

void fuseEnds(Program& program, bool half) {
  fuseShuffles(program, [](const Program& all, const Step& conv, const Step&) {
    return layoutOf(all.values[static_cast<size_t>(conv.in[0])]).kind == Layout::Wide;
  });
  Uses uses(program);
  for (int i = 0; half && i < program.forwardSteps;) {
    if (!fuseOnto(program, uses, static_cast<size_t>(i))) {
      ++i;
      continue;
    }
    --program.forwardSteps;
    uses = Uses(program);
  }
}

}  // namespace wbsr::cuda

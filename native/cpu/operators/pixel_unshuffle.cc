#include "core/operators/pixel_unshuffle.h"

#include "cpu/registry.h"
#include "cpu/shuffle.h"

namespace wbsr::cpu {

using operators::PixelUnshuffle;

void register_pixel_unshuffle(Registry& registry) {
  registry.add(PixelUnshuffle::kKind, [](const StepView& s) {
    unshuffleGeneric(s.outLayout(), s.out(), s.inLayout(0), s.in(0), s.batch(), s.op<PixelUnshuffle>().factor(),
                     s.inValue(0).channels);
  });
  registry.add(PixelUnshuffle::kBackward, [](const StepView& s) {
    shuffleGeneric(s.inLayout(0), s.in(0), s.outLayout(), s.out(), s.batch(), s.op<PixelUnshuffle>().factor(),
                   s.outValue().channels);
  });
}

}  // namespace wbsr::cpu

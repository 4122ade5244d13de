#include "core/operators/slice.h"

#include <algorithm>

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Slice;

void forward(const StepView& s) {
  copyChannels(s.inLayout(0), s.in(0), s.op<Slice>().from(), s.outLayout(), s.out(), 0, s.outValue().channels,
               s.batch());
  clearPadding(s.outLayout(), s.outValue(), s.batch(), s.out());
}

void backward(const StepView& s) {
  std::fill(s.out(), s.out() + s.outFloats(), 0.f);
  copyChannels(s.inLayout(0), s.in(0), 0, s.outLayout(), s.out(), s.op<Slice>().from(), s.inValue(0).channels,
               s.batch());
}

}  // namespace

void register_slice(Registry& registry) {
  registry.add(Slice::kKind, forward);
  registry.add(Slice::kBackward, backward);
}

}  // namespace wbsr::cpu

#include "core/operators/concat.h"

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {

using operators::Concat;

void register_concat(Registry& registry) {
  registry.add(Concat::kKind, [](const StepView& s) {
    int channel = 0;
    for (size_t k = 0; k < s.step().in.size(); ++k) {
      const int count = s.inValue(k).channels;
      copyChannels(s.inLayout(k), s.in(k), 0, s.outLayout(), s.out(), channel, count, s.batch());
      channel += count;
    }
    clearPadding(s.outLayout(), s.outValue(), s.batch(), s.out());
  });
}

}  // namespace wbsr::cpu

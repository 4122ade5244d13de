#include "core/operators/add.h"

#include "cpu/elementwise.h"
#include "cpu/executable.h"

namespace wbsr::cpu {

using operators::Add;

void register_add(Registry& registry) {
  registry.add(Add::kKind, [](const StepView& s) {
    const float *a = s.in(0), *b = s.in(1);
    float* out = s.out();
    const simd::Kernels& kernels = *s.context().kernels;
    chunked(s.outFloats(), [&](int64_t from, int64_t n) { kernels.add(out + from, a + from, b + from, n); });
  });
}

}  // namespace wbsr::cpu

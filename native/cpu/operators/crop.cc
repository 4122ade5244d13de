#include "core/operators/crop.h"

#include <cstring>

#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::Crop;

void crop(const Layout& from, const float* in, const Layout& to, float* out, int batch, int x, int y) {
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < planes; ++p)
    for (int row = 0; row < to.h; ++row)
      std::memcpy(out + (p * to.h + row) * to.w * to.lanes, in + ((p * from.h + y + row) * from.w + x) * from.lanes,
                  sizeof(float) * to.w * to.lanes);
}

}  // namespace

void register_crop(Registry& registry) {
  registry.add(Crop::kKind, [](const StepView& s) {
    const auto& op = s.op<Crop>();
    cpu::crop(s.inLayout(0), s.in(0), s.outLayout(), s.out(), s.batch(), op.x(), op.y());
  });
}

}  // namespace wbsr::cpu

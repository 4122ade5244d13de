// Initial weights: the same for the same seed on every device and every machine.
#include <cmath>
#include <cstdint>

#include "core/device.h"
#include "core/random.h"

namespace wbsr {
namespace {

struct Normal {
  SplitMix64 random;
  double uniform() { return (static_cast<double>(random.next() >> 11) + 0.5) / 9007199254740992.0; }  // never 0
  double next() {
    const double radius = std::sqrt(-2 * std::log(uniform()));  // apart: operand order is unspecified
    return radius * std::cos(2 * 3.14159265358979323846 * uniform());
  }
};

}  // namespace

void initialWeights(const Graph& graph, uint64_t seed, float* values) {
  Normal normal{{seed * 0x2545F4914F6CDD1Dull + 0x632BE59BD9B4E019ull}};
  for (const Parameter& parameter : graph.parameters())
    for (int64_t i = 0; i < parameter.count; ++i)
      values[parameter.offset + i] =
          parameter.random ? static_cast<float>(normal.next() * parameter.initial) : parameter.initial;
}

}  // namespace wbsr

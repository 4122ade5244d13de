// A range of channels, and its gradient, which is 0 elsewhere.
#include "core/operators/slice.h"

#include "cuda/kernels/channel_parts.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Slice;

// out's channels from `at` on are in0's from `first` on.
void compileCopy(StepCompiler& compiler, const Step& step, int first, int at, int count) {
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      const Layout from = v.layout(step.in[0]), to = v.layout(step.out);
                      ChannelParts parts{};
                      parts.count = 1;
                      parts.parts[0] = {v.at(step.in[0]), from.paddedChannels, v.isHalf(step.in[0]), first, at, count};
                      gatherChannels(parts, v.at<T>(step.out), to.pixels() * batch, to.paddedChannels, stream);
                    });
}

}  // namespace

void register_slice(Registry& registry) {
  registry.add(Slice::kKind, [](StepCompiler& compiler, const Step& step) {
    compileCopy(compiler, step, step.as<Slice>().from(), 0, compiler.values().layout(step.out).channels);
  });
  registry.add(Slice::kBackward, [](StepCompiler& compiler, const Step& step) {
    compileCopy(compiler, step, 0, step.as<Slice>().from(), compiler.values().layout(step.in[0]).channels);
  });
}

}  // namespace wbsr::cuda

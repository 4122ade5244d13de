// Concatenation of channels, and the gradients of its parts.
#include "core/operators/concat.h"

#include "core/error.h"
#include "cuda/kernels/channel_parts.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Concat;

void compileConcat(StepCompiler& compiler, const Step& step) {
  WBSR_CHECK(step.in.size() <= kMaxParts);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      ChannelParts parts{};
                      int at = 0;
                      for (const int in : step.in) {
                        const Layout l = v.layout(in);
                        parts.parts[parts.count++] = {v.at(in), l.paddedChannels, v.isHalf(in), 0, at, l.channels};
                        at += l.channels;
                      }
                      const Layout l = v.layout(step.out);
                      gatherChannels(parts, v.at<T>(step.out), l.pixels() * batch, l.paddedChannels, stream);
                    });
}

}  // namespace

void register_concat(Registry& registry) { registry.add(Concat::kKind, compileConcat); }

}  // namespace wbsr::cuda

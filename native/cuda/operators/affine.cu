// y = x scale + offset, for all channels or one by one, and its backward.
#include "core/operators/affine.h"

#include "cuda/kernels/elementwise.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Affine;

// scale, offset (channels padded); offset may be null. Padding is 0 in both.
struct Apply {
  const float *scale, *offset;
  __device__ void operator()(float (&v)[1][kVector], int channel) const {
    float s[kVector], o[kVector] = {};
    load(scale + channel, s);
    if (offset) load(offset + channel, o);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[0][k] = fmaf(v[0][k], s[k], o[k]);
  }
};

// at(channel) for each channel; padding 0.
template <typename F>
std::vector<float> perChannel(const Layout& layout, F&& at) {
  std::vector<float> all(static_cast<size_t>(layout.paddedChannels), 0.f);
  for (int c = 0; c < layout.channels; ++c) all[static_cast<size_t>(c)] = at(c);
  return all;
}

void compile(StepCompiler& compiler, const Step& step, bool withOffset) {
  const Layout l = compiler.values().layout(step.out);
  const auto& op = step.as<Affine>();
  const Apply apply{compiler.constants(perChannel(l, [&](int c) { return op.scale(c); })),
                    withOffset ? compiler.constants(perChannel(l, [&](int c) { return op.offset(c); })) : nullptr};
  compiler.launchAs(step.out, step.out, [=, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    elementwise::channelwise<1, T>({{v.at<T>(step.in[0])}}, v.at<T>(step.out), v.elements(step.out), l.paddedChannels,
                                   apply, stream);
  });
}

}  // namespace

void register_affine(Registry& registry) {
  registry.add(Affine::kKind, [](StepCompiler& compiler, const Step& step) { compile(compiler, step, true); });
  registry.add(Affine::kBackward, [](StepCompiler& compiler, const Step& step) { compile(compiler, step, false); });
}

}  // namespace wbsr::cuda

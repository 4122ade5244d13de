// y = x where x > 0, else slope[c] x, and its backward.
#include "core/operators/prelu.h"

#include "cuda/kernels/channels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Prelu;

// slopes (channels padded)
struct Apply {
  const float* slopes;
  __device__ void operator()(float (&v)[1][kVector], int channel) const {
    float slope[kVector];
    load(slopes + channel, slope);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[0][k] = v[0][k] > 0.f ? v[0][k] : v[0][k] * slope[k];
  }
};

// dx from v = {dy, x}.
struct ApplyBackward {
  const float* slopes;
  __device__ void operator()(float (&v)[2][kVector], int channel) const {
    float slope[kVector];
    load(slopes + channel, slope);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[0][k] = v[1][k] > 0.f ? v[0][k] : v[0][k] * slope[k];
  }
};

// The slopes' gradient from v = {dy, x}.
struct SlopeSum {
  static constexpr int kOperands = 2;
  __device__ void operator()(const float (&v)[2][kVector], const channels::Where&, float (&sum)[kVector]) const {
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] = v[1][k] > 0.f ? sum[k] : fmaf(v[0][k], v[1][k], sum[k]);
  }
};

const float* slopesOf(const StepCompiler& compiler, const Step& step) {
  return static_cast<const float*>(compiler.context().weights->columnPack(step.parameters[0]).data);
}

void compilePrelu(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(
      step.out, step.out,
      [=, &v = compiler.values(), slopes = slopesOf(compiler, step), stream = compiler.stream()](auto type) {
        using T = decltype(type);
        elementwise::channelwise<1, T>({{v.at<T>(step.in[0])}}, v.at<T>(step.out), v.elements(step.out),
                                       v.layout(step.out).paddedChannels, Apply{slopes}, stream);
      });
}

// in: dOut, the input.
void compileBackwardData(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(
      step.out, step.out,
      [=, &v = compiler.values(), slopes = slopesOf(compiler, step), stream = compiler.stream()](auto type) {
        using T = decltype(type);
        elementwise::channelwise<2, T>({{v.at<T>(step.in[0]), v.at<T>(step.in[1])}}, v.at<T>(step.out),
                                       v.elements(step.out), v.layout(step.out).paddedChannels, ApplyBackward{slopes},
                                       stream);
      });
}

// in: dOut, the input.
void compileBackwardWeights(StepCompiler& compiler, const Step& step) {
  const Values& values = compiler.values();
  const Layout l = values.layout(step.in[0]);
  const int64_t pixels = l.pixels() * compiler.batch();
  ChannelSum sum{0, compiler.placeOf(step.parameters[0]), channels::sumChunks(pixels), l.paddedChannels, l.channels};
  sum.rows = compiler.context().weights->indices(step.parameters[0].ranges[0]);
  const auto partial = compiler.addAtEnd(sum);
  compiler.launchBeside({values.range(step.in[0]), values.range(step.in[1])},
                        [=, &v = values, &c = compiler.context()] {
                          withType(v.isHalf(step.in[0]), [&](auto type) {
                            using T = decltype(type);
                            channels::leaveSums<SlopeSum, T>({{v.at<T>(step.in[0]), v.at<T>(step.in[1])}}, partial(), 1,
                                                             pixels, l.paddedChannels, SlopeSum{}, c.side);
                          });
                        });
}

}  // namespace

void register_prelu(Registry& registry) {
  registry.add(Prelu::kKind, compilePrelu);
  registry.add(Prelu::kBackwardData, compileBackwardData);
  registry.add(Prelu::kBackwardWeights, compileBackwardWeights);
}

}  // namespace wbsr::cuda

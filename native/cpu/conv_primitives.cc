#include "cpu/conv_primitives.h"

#include "core/error.h"

namespace wbsr::cpu {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

namespace {

memory::desc imageDesc(int batch, int channels, int h, int w, int lanes, bool thin) {
  if (thin) return {{batch, channels, h, w}, Type::f32, Tag::nchw};
  return {{batch, roundUp(channels, lanes), h, w}, Type::f32, lanes == 16 ? Tag::nChw16c : Tag::nChw8c};
}

memory::desc anyWeights(int out, int in, int kernel) { return {{out, in, kernel, kernel}, Type::f32, Tag::any}; }

// Winograd where it exists (3 x 3, blocked on both sides), else whatever direct convolution oneDNN has.
template <class Make>
auto withBestAlgorithm(int kernel, bool thinInput, Make make) {
  if (kernel == 3 && !thinInput) {
    try {
      return make(dnnl::algorithm::convolution_winograd);
    } catch (const dnnl::error&) {
      // not on this processor or not with these post-operations
    }
  }
  return make(dnnl::algorithm::convolution_direct);
}

dnnl::convolution_forward::primitive_desc forwardDesc(const dnnl::engine& engine, dnnl::algorithm algorithm,
                                                      const memory::desc& source, const memory::desc& weights,
                                                      const memory::desc& bias, const memory::desc& destination,
                                                      int kernel, const dnnl::primitive_attr& attributes) {
  const memory::dims one{1, 1}, pad{kernel / 2, kernel / 2};
#if DNNL_VERSION_MAJOR >= 3
  return {engine,    dnnl::prop_kind::forward_training, algorithm, source, weights, bias, destination, one, pad, pad,
          attributes};
#else
  return {{dnnl::prop_kind::forward_training, algorithm, source, weights, bias, destination, one, pad, pad},
          attributes,
          engine};
#endif
}

dnnl::primitive_attr scratchpadAttributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

void appendRelu(dnnl::post_ops& ops, float slope) {
#if DNNL_VERSION_MAJOR >= 3
  ops.append_eltwise(dnnl::algorithm::eltwise_relu, slope, 0.f);
#else
  ops.append_eltwise(1.f, dnnl::algorithm::eltwise_relu, slope, 0.f);
#endif
}

}  // namespace

int preferredLanes(const dnnl::engine& engine) {
  const memory::desc any({1, 64, 32, 32}, Type::f32, Tag::any);
  const auto desc = forwardDesc(engine, dnnl::algorithm::convolution_direct, any, anyWeights(64, 64, 3),
                                {{64}, Type::f32, Tag::any}, any, 3, scratchpadAttributes());
  const memory::desc chosen = desc.src_desc();
#if defined(__x86_64__)
  if (chosen == memory::desc({1, 64, 32, 32}, Type::f32, Tag::nChw16c) && __builtin_cpu_supports("avx512vl")) return 16;
#endif
  return 8;
}

ForwardPrimitive makeForward(const dnnl::engine& engine, int batch, int in, int out, int h, int w, int kernel,
                             int lanes, bool thinInput, ActivationKind activation, float slope, bool sum) {
  const memory::desc source = imageDesc(batch, in, h, w, lanes, thinInput),
                     destination = imageDesc(batch, out, h, w, lanes, false);
  const int paddedIn = thinInput ? in : roundUp(in, lanes), paddedOut = roundUp(out, lanes);
  const bool relu = activation == ActivationKind::Relu || activation == ActivationKind::LeakyRelu;
  // With the activation inside if Winograd takes it so; Winograd without it beats a direct convolution with it.
  auto attempt = [&](dnnl::algorithm algorithm, bool inside) {
    dnnl::primitive_attr attributes = scratchpadAttributes();
    dnnl::post_ops ops;
    if (sum) ops.append_sum(1.f);
    if (inside) appendRelu(ops, slope);
    attributes.set_post_ops(ops);
    const auto desc = forwardDesc(engine, algorithm, source, anyWeights(paddedOut, paddedIn, kernel),
                                  {{paddedOut}, Type::f32, Tag::a}, destination, kernel, attributes);
    return ForwardPrimitive{dnnl::convolution_forward(desc),
                            desc.src_desc(),
                            desc.weights_desc(),
                            desc.bias_desc(),
                            desc.dst_desc(),
                            desc.scratchpad_desc(),
                            inside,
                            sum};
  };
  return withBestAlgorithm(kernel, thinInput, [&](dnnl::algorithm algorithm) {
    if (relu && (activation == ActivationKind::Relu || algorithm == dnnl::algorithm::convolution_direct)) {
      try {
        return attempt(algorithm, true);
      } catch (const dnnl::error&) {}
    }
    return attempt(algorithm, false);
  });
}

BackwardDataPrimitive makeBackwardData(const dnnl::engine& engine, int batch, int in, int out, int h, int w, int kernel,
                                       int lanes) {
  const memory::desc gradIn = imageDesc(batch, in, h, w, lanes, false),
                     gradOut = imageDesc(batch, out, h, w, lanes, false);
  const memory::desc weights = anyWeights(roundUp(out, lanes), roundUp(in, lanes), kernel);
  const memory::dims one{1, 1}, pad{kernel / 2, kernel / 2};
  return withBestAlgorithm(kernel, false, [&](dnnl::algorithm algorithm) {
    const auto hint = forwardDesc(engine, algorithm, gradIn, weights, {{roundUp(out, lanes)}, Type::f32, Tag::a},
                                  gradOut, kernel, scratchpadAttributes());
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_backward_data::primitive_desc desc(engine, algorithm, gradIn, weights, gradOut, one, pad,
                                                               pad, hint, scratchpadAttributes());
#else
    const dnnl::convolution_backward_data::primitive_desc desc({algorithm, gradIn, weights, gradOut, one, pad, pad}, scratchpadAttributes(), engine, hint);
#endif
    return BackwardDataPrimitive{dnnl::convolution_backward_data(desc), desc.diff_dst_desc(), desc.weights_desc(),
                                 desc.diff_src_desc(), desc.scratchpad_desc()};
  });
}

BackwardWeightsPrimitive makeBackwardWeights(const dnnl::engine& engine, int batch, int in, int out, int h, int w,
                                             int kernel, int lanes, bool thinInput) {
  const memory::desc source = imageDesc(batch, in, h, w, lanes, thinInput),
                     gradOut = imageDesc(batch, out, h, w, lanes, false);
  const memory::desc weights = anyWeights(roundUp(out, lanes), thinInput ? in : roundUp(in, lanes), kernel);
  const memory::desc bias({roundUp(out, lanes)}, Type::f32, Tag::a);
  const memory::dims one{1, 1}, pad{kernel / 2, kernel / 2};
  return withBestAlgorithm(kernel, thinInput, [&](dnnl::algorithm algorithm) {
    const auto hint = forwardDesc(engine, algorithm, source, weights, bias, gradOut, kernel, scratchpadAttributes());
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_backward_weights::primitive_desc desc(engine, algorithm, source, weights, bias, gradOut,
                                                                  one, pad, pad, hint, scratchpadAttributes());
#else
    const dnnl::convolution_backward_weights::primitive_desc desc({algorithm, source, weights, bias, gradOut, one, pad, pad}, scratchpadAttributes(), engine, hint);
#endif
    return BackwardWeightsPrimitive{dnnl::convolution_backward_weights(desc),
                                    desc.src_desc(),
                                    desc.diff_dst_desc(),
                                    desc.diff_weights_desc(),
                                    desc.diff_bias_desc(),
                                    desc.scratchpad_desc()};
  });
}

}  // namespace wbsr::cpu

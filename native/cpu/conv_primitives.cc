#include "cpu/conv_primitives.h"

#include "core/error.h"
#include "core/instruction_set.h"

namespace wbsr::cpu {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

namespace {

memory::desc imageDesc(int batch, int channels, int h, int w, int lanes, bool thin) {
  if (thin) return {{batch, channels, h, w}, Type::f32, Tag::nchw};
  return {{batch, roundUp(channels, lanes), h, w}, Type::f32, lanes == 16 ? Tag::nChw16c : Tag::nChw8c};
}

// The parts of a primitive, with `weights` in the layout that the primitive chooses.
struct Descs {
  memory::desc source, weights, bias, destination;
  memory::dims strides, padBefore, padAfter;
};

Descs descsOf(const PrimitiveShape& s) {
  const auto after = [&s](int in, int out) {
    return static_cast<memory::dim>((out - 1) * s.stride + s.kernel - in - s.padding);
  };
  const int in = s.thinInput ? s.in : roundUp(s.in, s.lanes), out = roundUp(s.out, s.lanes);
  const memory::dims weights =
      s.depthwise ? memory::dims{out, 1, 1, s.kernel, s.kernel} : memory::dims{out, in, s.kernel, s.kernel};
  return {imageDesc(s.batch, s.in, s.inH, s.inW, s.lanes, s.thinInput),
          {weights, Type::f32, Tag::any},
          {{out}, Type::f32, Tag::a},
          imageDesc(s.batch, s.out, s.outH, s.outW, s.lanes, false),
          {s.stride, s.stride},
          {s.padding, s.padding},
          {after(s.inH, s.outH), after(s.inW, s.outW)}};
}

// Winograd where it exists (3 x 3, blocked on both sides), else whatever direct convolution oneDNN has.
template <class Make>
auto withBestAlgorithm(const PrimitiveShape& s, Make make) {
  const bool keepsSize = s.stride == 1 && s.padding == s.kernel / 2;
  if (s.kernel == 3 && !s.thinInput && keepsSize && !s.depthwise) {
    try {
      return make(dnnl::algorithm::convolution_winograd);
    } catch (const dnnl::error&) {
      // not on this processor or not with these post-operations
    }
  }
  return make(dnnl::algorithm::convolution_direct);
}

dnnl::convolution_forward::primitive_desc forwardDesc(const dnnl::engine& engine, dnnl::algorithm algorithm,
                                                      const Descs& d, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine,        dnnl::prop_kind::forward_training,
          algorithm,     d.source,
          d.weights,     d.bias,
          d.destination, d.strides,
          d.padBefore,   d.padAfter,
          attributes};
#else
  return {{dnnl::prop_kind::forward_training, algorithm, d.source, d.weights, d.bias, d.destination, d.strides,
           d.padBefore, d.padAfter},
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

static int readLanes() {
  const dnnl::engine& engine = cpuEngine();
  const memory::desc any({1, 64, 32, 32}, Type::f32, Tag::any);
  const Descs descs{any,   {{64, 64, 3, 3}, Type::f32, Tag::any}, {{64}, Type::f32, Tag::any}, any, {1, 1}, {1, 1},
                    {1, 1}};
  const auto desc = forwardDesc(engine, dnnl::algorithm::convolution_direct, descs, scratchpadAttributes());
  const memory::desc chosen = desc.src_desc();
  const bool wide = chosen == memory::desc({1, 64, 32, 32}, Type::f32, Tag::nChw16c);
  return wide && instructionSet() == InstructionSet::Avx512 ? 16 : 8;
}

int lanesOfBlocks() {
  static const int lanes = readLanes();  // the machine does not change
  return lanes;
}

ForwardPrimitive makeForward(const dnnl::engine& engine, const PrimitiveShape& shape, ActivationKind activation,
                             float slope, bool sum) {
  const Descs descs = descsOf(shape);
  const bool relu = activation == ActivationKind::Relu || activation == ActivationKind::LeakyRelu;
  // With the activation inside if Winograd supports it; Winograd without it beats a direct convolution with it.
  auto attempt = [&](dnnl::algorithm algorithm, bool inside) {
    dnnl::primitive_attr attributes = scratchpadAttributes();
    dnnl::post_ops ops;
    if (sum) ops.append_sum(1.f);
    if (inside) appendRelu(ops, slope);
    attributes.set_post_ops(ops);
    const auto desc = forwardDesc(engine, algorithm, descs, attributes);
    return ForwardPrimitive{dnnl::convolution_forward(desc),
                            desc.src_desc(),
                            desc.weights_desc(),
                            desc.bias_desc(),
                            desc.dst_desc(),
                            desc.scratchpad_desc(),
                            inside,
                            sum};
  };
  return withBestAlgorithm(shape, [&](dnnl::algorithm algorithm) {
    if (relu && (activation == ActivationKind::Relu || algorithm == dnnl::algorithm::convolution_direct)) {
      try {
        return attempt(algorithm, true);
      } catch (const dnnl::error&) {}
    }
    return attempt(algorithm, false);
  });
}

BackwardDataPrimitive makeBackwardData(const dnnl::engine& engine, const PrimitiveShape& shape) {
  const Descs d = descsOf(shape);
  return withBestAlgorithm(shape, [&](dnnl::algorithm algorithm) {
    const auto hint = forwardDesc(engine, algorithm, d, scratchpadAttributes());
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_backward_data::primitive_desc desc(engine, algorithm, d.source, d.weights, d.destination,
                                                               d.strides, d.padBefore, d.padAfter, hint,
                                                               scratchpadAttributes());
#else
    const dnnl::convolution_backward_data::primitive_desc desc(
        {algorithm, d.source, d.weights, d.destination, d.strides, d.padBefore, d.padAfter}, scratchpadAttributes(),
        engine, hint);
#endif
    return BackwardDataPrimitive{dnnl::convolution_backward_data(desc), desc.diff_dst_desc(), desc.weights_desc(),
                                 desc.diff_src_desc(), desc.scratchpad_desc()};
  });
}

BackwardWeightsPrimitive makeBackwardWeights(const dnnl::engine& engine, const PrimitiveShape& shape) {
  const Descs d = descsOf(shape);
  return withBestAlgorithm(shape, [&](dnnl::algorithm algorithm) {
    const auto hint = forwardDesc(engine, algorithm, d, scratchpadAttributes());
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::convolution_backward_weights::primitive_desc desc(engine, algorithm, d.source, d.weights, d.bias,
                                                                  d.destination, d.strides, d.padBefore, d.padAfter,
                                                                  hint, scratchpadAttributes());
#else
    const dnnl::convolution_backward_weights::primitive_desc desc(
        {algorithm, d.source, d.weights, d.bias, d.destination, d.strides, d.padBefore, d.padAfter},
        scratchpadAttributes(), engine, hint);
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

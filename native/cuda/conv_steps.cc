// The convolution steps of an Executable: cuDNN where channels are many, our own kernels for thin and pooled values.
#include <algorithm>

#include "core/error.h"
#include "cuda/executable.h"
#include "cuda/operators.h"

namespace wbsr::cuda {
namespace {

SmallConv smallShape(const Step& step, const Layout& in, const Layout& out, int batch, int fullIn) {
  SmallConv c{};
  c.batch = batch;
  c.height = in.kind == Layout::Pooled ? 1 : in.height;
  c.width = in.kind == Layout::Pooled ? 1 : in.width;
  c.inChannels = step.inChannels;
  c.outChannels = step.outChannels;
  c.inStride = in.paddedChannels;
  c.outStride = out.paddedChannels;
  c.kernel = step.kernel;
  c.fullIn = fullIn;
  c.activation = step.activation;
  c.slope = step.slope;
  return c;
}

}  // namespace

// Between values that are both not wide.
bool Executable::small(const Step& step) const {
  int in = step.in[0], out = step.out;
  if (step.kind == StepKind::ConvBackwardWeights) out = step.in[1];
  return layout(in).kind != Layout::Wide && layout(out).kind != Layout::Wide;
}

ConvSpec Executable::specOf(const Step& step) const {
  const Context& c = context_;
  ConvSpec spec;
  spec.batch = program_.batch;
  spec.kernel = step.kernel;
  spec.precision = c.options.precision;
  const Type wide = c.half ? Type::Bf16 : Type::Float;
  int in = step.in[0], out = step.out;
  if (step.kind == StepKind::Conv) {
    spec.mode = ConvSpec::Forward;
    spec.x = wide;
    spec.y = isHalf(out) ? Type::Bf16 : Type::Float;
    spec.bias = c.graph.biasOf(step.node) >= 0;
    spec.residual = step.residual >= 0;
    spec.activation = step.activation;
    spec.slope = step.slope;
  } else if (step.kind == StepKind::ConvBackwardData) {
    std::swap(in, out);  // of the forward convolution
    spec.mode = ConvSpec::BackwardData;
    spec.x = isHalf(in) ? Type::Bf16 : Type::Float;
    spec.y = wide;
    spec.gate = step.activation != ActivationKind::None;
    spec.activation = step.activation;
    spec.slope = step.slope;
  } else {
    out = step.in[1];
    spec.mode = ConvSpec::BackwardWeights;
    spec.x = spec.y = wide;
  }
  const Layout from = layout(in), to = layout(out);
  spec.height = from.height;
  spec.width = from.width;
  spec.inChannels = from.paddedChannels;
  spec.outChannels = to.paddedChannels;
  return spec;
}

// Builds what the cache of plans does not have, several at a time.
void Executable::preparePlans() {
  std::vector<ConvSpec> specs;
  for (const Step& step : program_.steps) {
    const bool convolution = step.kind == StepKind::Conv || step.kind == StepKind::ConvBackwardData ||
                             step.kind == StepKind::ConvBackwardWeights;
    if (!convolution || small(step)) continue;
    const ConvSpec spec = specOf(step);
    if (std::find(specs.begin(), specs.end(), spec) == specs.end()) specs.push_back(spec);
  }
  context_.plans->prepare(specs);
}

std::shared_ptr<const ConvPlan> Executable::planOf(const Step& step) const { return context_.plans->get(specOf(step)); }

void Executable::conv(const Step& step, std::vector<bool>& copied) {
  Context& c = context_;
  const wbsr::Graph& graph = c.graph;
  const Layout in = layout(step.in[0]), out = layout(step.out);
  const int weight = graph.weightOf(step.node), bias = graph.biasOf(step.node);
  if (small(step)) {
    const Parameter& w = graph.parameters()[weight];
    const SmallConv shape = smallShape(step, in, out, program_.batch, w.shape[1]);
    const int64_t biasOffset = bias >= 0 ? graph.parameters()[bias].offset : -1;
    launches_.add(range(step.out), [=, this, weightOffset = w.offset] {
      const float* master = context_.weights->weights();
      smallConv(shape, at<float>(step.in[0]), master + weightOffset, biasOffset >= 0 ? master + biasOffset : nullptr,
                step.residual >= 0 ? at<float>(step.residual) : nullptr, at<float>(step.out), context_.stream);
    });
    return;
  }
  const auto plan = planOf(step);
  needWorkspace(plan->workspace());
  const int groups = step.shuffled ? step.factor * step.factor : 1;
  const void* packed = c.weights->weightPack(step.node, step.outChannels, step.inChannels, groups).data;
  const float* packedBias = c.weights->biasPack(step.node, step.outChannels, groups);
  const auto x = operand(step.in[0], copied);
  launches_.add(range(step.out), [=, this] {
    ConvArguments arguments;
    arguments.x = x();
    arguments.w = packed;
    arguments.y = at(step.out);
    arguments.bias = packedBias;
    arguments.residual = step.residual >= 0 ? at(step.residual) : nullptr;
    plan->run(arguments, context_.workspace.as(), context_.stream);
  });
}

// in[0] = dOut, out = dIn; in[1] = the gate where an activation's gradient was fused.
void Executable::convBackwardData(const Step& step, std::vector<bool>& copied) {
  Context& c = context_;
  const Layout dOut = layout(step.in[0]), dIn = layout(step.out);
  if (small(step)) {
    const Parameter& w = c.graph.parameters()[c.graph.weightOf(step.node)];
    SmallConv shape = smallShape(step, dIn, dOut, program_.batch, w.shape[1]);
    WBSR_CHECK(step.activation == ActivationKind::None);
    launches_.add(range(step.out), [=, this, weightOffset = w.offset] {
      smallConvBackwardData(shape, at<float>(step.in[0]), context_.weights->weights() + weightOffset,
                            at<float>(step.out), context_.stream);
    });
    return;
  }
  const auto plan = planOf(step);
  needWorkspace(plan->workspace());
  const int groups = step.shuffled ? step.factor * step.factor : 1;
  const void* packed = c.weights->weightPack(step.node, step.outChannels, step.inChannels, groups).data;
  const auto y = operand(step.in[0], copied);
  launches_.add(range(step.out), [=, this] {
    ConvArguments arguments;
    arguments.x = at(step.out);
    arguments.w = packed;
    arguments.y = y();
    arguments.gate = step.in[1] >= 0 ? at(step.in[1]) : nullptr;
    plan->run(arguments, context_.workspace.as(), context_.stream);
  });
}

// in[0] = the forward input, in[1] = dOut; into the gradient arena, which within a pass nobody else touches: on the side
// stream, with memory of its own.
void Executable::convBackwardWeights(const Step& step, std::vector<bool>& copied) {
  Context& c = context_;
  const wbsr::Graph& graph = c.graph;
  const Layout in = layout(step.in[0]), dOut = layout(step.in[1]);
  const Parameter& w = graph.parameters()[graph.weightOf(step.node)];
  const int bias = graph.biasOf(step.node);
  const int64_t biasOffset = bias >= 0 ? graph.parameters()[bias].offset : -1;
  if (small(step)) {
    const SmallConv shape = smallShape(step, in, dOut, program_.batch, w.shape[1]);
    needSideScratch(smallConvScratch(shape));
    launches_.addBeside({range(step.in[0]), range(step.in[1])}, [=, this, weightOffset = w.offset] {
      float* gradient = context_.weights->gradient();
      smallConvBackwardWeights(shape, at<float>(step.in[0]), at<float>(step.in[1]), gradient + weightOffset,
                               biasOffset >= 0 ? gradient + biasOffset : nullptr, context_.sideScratch.as(),
                               context_.side);
    });
    return;
  }
  const auto plan = planOf(step);
  needSideWorkspace(plan->workspace());
  const int groups = step.shuffled ? step.factor * step.factor : 1;
  const Pack slice = c.weights->weightPack(step.node, step.outChannels, step.inChannels, groups);
  const int area = step.kernel * step.kernel;
  const bool halfWritten = plan->written() == Type::Bf16;
  needSideScratch((halfWritten ? sizeof(bf16) : sizeof(float)) * static_cast<size_t>(slice.outPadded) * area *
                  slice.inPadded);
  const auto x = operand(step.in[0], copied), y = operand(step.in[1], copied);
  launches_.addBeside({rangeOfOperand(step.in[0]), rangeOfOperand(step.in[1])},
                      [=, this, weightOffset = w.offset, fullIn = w.shape[1]] {
                        ConvArguments arguments;
                        arguments.x = x();
                        arguments.w = context_.sideScratch.as();
                        arguments.y = y();
                        plan->run(arguments, context_.sideWorkspace.as(), context_.side);
                        withType(halfWritten, [&](auto type) {
                          using T = decltype(type);
                          addWeightGradient(context_.sideScratch.as<T>(), slice, area, fullIn,
                                            context_.weights->gradient() + weightOffset, context_.side);
                        });
                      });
  if (biasOffset < 0) return;
  const int64_t pixels = dOut.pixels() * program_.batch;
  needSideScratch(biasGradientScratch(pixels, dOut.paddedChannels));
  launches_.addBeside({range(step.in[1])}, [=, this, value = step.in[1]] {
    withType(isHalf(value), [&](auto type) {
      using T = decltype(type);
      biasGradient(at<T>(value), context_.weights->gradient() + biasOffset, pixels, dOut.paddedChannels,
                   step.outChannels, groups, context_.sideScratch.as(), context_.side);
    });
  });
}

}  // namespace wbsr::cuda

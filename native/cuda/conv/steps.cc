#include "cuda/conv/steps.h"

#include "core/error.h"
#include "cuda/conv/kernels.h"
#include "cuda/conv/tile_conv.h"

namespace wbsr::cuda {
namespace {

// cuDNN for many channels, else our kernels: depthwise.cu, small_conv.cu between thin or pooled values, direct.cu for
// geometries that small_conv.cu does not support.
enum class Way { Plan, Depthwise, Small, Direct };

Way wayOf(const StepCompiler& compiler, const ConvGeometry& g) {
  constexpr int kSmallKernel = 9;
  if (g.depthwise) return Way::Depthwise;
  const Values& v = compiler.values();
  if (v.layout(g.x).kind == Layout::Wide || v.layout(g.y).kind == Layout::Wide) return Way::Plan;
  const bool plain = g.stride == 1 && g.kernel % 2 == 1 && g.padding == g.kernel / 2 && g.groups == 1;
  return plain && g.kernel <= kSmallKernel ? Way::Small : Way::Direct;
}

// The number of sub-pixel planes by which y's channels, and therefore the filters, are ordered.
int planesOf(const StepCompiler& compiler, const ConvGeometry& g) {
  if (g.factor > 1) return g.factor * g.factor;
  return compiler.program().values[static_cast<size_t>(g.y)].groups;
}

SmallConv smallShape(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end) {
  const Layout x = compiler.values().layout(g.x), y = compiler.values().layout(g.y);
  Weights& weights = *compiler.context().weights;
  return {compiler.batch(),
          x.height,
          x.width,
          x.channels,
          y.channels,
          x.paddedChannels,
          y.paddedChannels,
          g.kernel,
          weights.parameter(g.weight).shape[1],
          end.activation,
          end.slope,
          weights.indices(g.weight.ranges[0]),
          weights.indices(g.weight.ranges[1])};
}

DirectConv directShape(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end) {
  const Layout x = compiler.values().layout(g.x), y = compiler.values().layout(g.y);
  Weights& weights = *compiler.context().weights;
  return {compiler.batch(),
          x.height,
          x.width,
          y.height,
          y.width,
          x.channels,
          y.channels,
          x.paddedChannels,
          y.paddedChannels,
          g.kernel,
          g.stride,
          g.padding,
          g.groups,
          weights.parameter(g.weight).shape[1],
          end.activation,
          end.slope,
          weights.indices(g.weight.ranges[0]),
          weights.indices(g.weight.ranges[1]),
          g.bias.parameter >= 0 ? weights.indices(g.bias.ranges[0]) : nullptr};
}

DepthwiseConv depthwiseShape(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end) {
  const Layout x = compiler.values().layout(g.x), y = compiler.values().layout(g.y);
  return {compiler.batch(), x.height, x.width,  y.height,  y.width,        x.paddedChannels,
          x.channels,       g.kernel, g.stride, g.padding, end.activation, end.slope};
}

ConvSpec specOf(const StepCompiler& compiler, const ConvGeometry& g, ConvSpec::Mode mode, const ConvEnd& end) {
  const Context& c = compiler.context();
  const Values& values = compiler.values();
  const Layout x = values.layout(g.x), y = values.layout(g.y);
  ConvSpec spec;
  spec.mode = mode;
  spec.batch = compiler.batch();
  spec.height = x.height;
  spec.width = x.width;
  spec.inChannels = x.paddedChannels;
  spec.outChannels = y.paddedChannels * g.factor * g.factor;
  spec.factor = g.factor;
  spec.kernel = g.kernel;
  spec.stride = g.stride;
  spec.padding = g.padding;
  spec.precision = c.options.precision;
  spec.x = spec.y = c.half ? Type::Bf16 : Type::Float;
  const auto typeOf = [&](int value) { return values.isHalf(value) ? Type::Bf16 : Type::Float; };
  if (mode == ConvSpec::Forward) spec.y = typeOf(g.y);
  if (mode == ConvSpec::BackwardData) spec.x = typeOf(g.x);
  spec.bias = end.bias;
  spec.residual = end.residual >= 0;
  spec.activation = end.activation;
  spec.slope = end.slope;
  spec.slopes = end.slopes.parameter >= 0;
  spec.product = end.shift.has_value();
  spec.shift = end.shift.value_or(0.f);
  spec.sums = end.sums;
  WBSR_CHECK(spec.outHeight() * g.factor == y.height && spec.outWidth() * g.factor == y.width);
  return spec;
}

// A plan of the gradient by x supports a residual and a gate, but no bias and no other activation.
bool endsInPlan(const ConvEnd& end, int gate) {
  return !end.bias && (gate >= 0 || end.activation == ActivationKind::None);
}

ConvSpec inputSpec(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate) {
  ConvSpec spec = specOf(compiler, g, ConvSpec::BackwardData, endsInPlan(end, gate) ? end : ConvEnd{});
  spec.gate = gate >= 0;
  return spec;
}

const Pack& packOf(const StepCompiler& compiler, const ConvGeometry& g) {
  return compiler.context().weights->weightPack(g.weight, planesOf(compiler, g), g.groups);
}

const float* columnsOf(const StepCompiler& compiler, const ParameterSlice& slice, int planes = 1) {
  return static_cast<const float*>(compiler.context().weights->columnPack(slice, planes).data);
}

// Null without a bias.
const float* masterBias(const Context& c, const ConvGeometry& g, const ConvEnd& end) {
  return end.bias ? c.weights->weights(g.bias) : nullptr;
}

void compilePlanToInput(StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate) {
  Context& context = compiler.context();
  const auto plan = context.plans->get(inputSpec(compiler, g, end, gate));
  compiler.needWorkspace(plan->workspace());
  const void* weight = packOf(compiler, g).data;
  const float* bias = end.bias ? columnsOf(compiler, g.bias) : nullptr;
  const bool ends = !endsInPlan(end, gate);
  const auto y = compiler.operand(g.y);
  compiler.launch(g.x, [=, &v = compiler.values(), &context] {
    ConvArguments arguments;
    arguments.handle = context.convHandle.get();
    arguments.x = v.at(g.x);
    arguments.w = weight;
    arguments.y = y();
    arguments.residual = v.atOrNull<void>(end.residual);
    arguments.gate = v.atOrNull<void>(gate);
    plan->run(arguments, context.workspace.as(), context.stream);
    if (!ends) return;
    withType(v.isHalf(g.x), [&](auto type) {
      using T = decltype(type);
      const int channels = v.layout(g.x).paddedChannels;
      convEpilogue(v.at<const T>(g.x), Epilogue{bias, end.activation, end.slope}, v.atOrNull<const T>(end.residual),
                   v.at<T>(g.x), v.elements(g.x) / channels, channels, context.stream);
    });
  });
}

void compilePlanToWeight(StepCompiler& compiler, const ConvGeometry& g) {
  const Values& values = compiler.values();
  Context& context = compiler.context();
  const auto plan = context.plans->get(specOf(compiler, g, ConvSpec::BackwardWeights, {}));
  compiler.needSideWorkspace(plan->workspace());
  const Pack slice = packOf(compiler, g);
  const int area = g.kernel * g.kernel;
  const auto dw =
      compiler.addAtEnd(WeightSum{0, compiler.placeOf(g.weight), slice, area,
                                  context.weights->parameter(g.weight).shape[1], plan->written() == Type::Bf16});
  const auto x = compiler.operand(g.x), y = compiler.operand(g.y);
  compiler.launchBeside({values.rangeOfOperand(g.x), values.rangeOfOperand(g.y)}, [=, &c = context] {
    ConvArguments arguments;
    arguments.handle = c.convHandle.get();
    arguments.x = x();
    arguments.w = dw();
    arguments.y = y();
    plan->run(arguments, c.sideWorkspace.as(), c.side);
  });
}

}  // namespace

bool takesAnyEnd(const Value& x, const Value& y, bool depthwise) {
  return !depthwise && (layoutOf(x).kind == Layout::Wide || layoutOf(y).kind == Layout::Wide);
}

void compileToOutput(StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end) {
  Context& context = compiler.context();
  const Values& values = compiler.values();
  switch (wayOf(compiler, g)) {
    case Way::Small:
      compiler.launch(g.y, [=, &v = values, &c = context, shape = smallShape(compiler, g, end)] {
        smallConv(shape, v.at<float>(g.x), c.weights->weights(g.weight), masterBias(c, g, end),
                  v.atOrNull<float>(end.residual), v.at<float>(g.y), c.stream);
      });
      return;
    case Way::Direct:
      compiler.launch(g.y, [=, &v = values, &c = context, shape = directShape(compiler, g, end)] {
        directConv(shape, v.at<float>(g.x), c.weights->weights(g.weight), masterBias(c, g, end),
                   v.atOrNull<float>(end.residual), v.at<float>(g.y), c.stream);
      });
      return;
    case Way::Depthwise:
      compiler.launchAs(
          g.y, g.y,
          [=, &v = values, stream = compiler.stream(), shape = depthwiseShape(compiler, g, end),
           weight = columnsOf(compiler, g.weight), bias = end.bias ? columnsOf(compiler, g.bias) : nullptr](auto type) {
            using T = decltype(type);
            depthwiseConv(shape, v.at<const T>(g.x), weight, bias, v.atOrNull<const T>(end.residual), v.at<T>(g.y),
                          stream);
          });
      return;
    case Way::Plan: break;
  }
  const auto plan = context.plans->get(specOf(compiler, g, ConvSpec::Forward, end));
  compiler.needWorkspace(plan->workspace());
  const void* weight = packOf(compiler, g).data;
  const float* bias = end.bias ? columnsOf(compiler, g.bias, planesOf(compiler, g)) : nullptr;
  const float* slopes = end.slopes.parameter >= 0 ? columnsOf(compiler, end.slopes, planesOf(compiler, g)) : nullptr;
  const auto x = compiler.operand(g.x);
  if (end.sums) compiler.leaveSums(g.y, plan->sumChunks());
  compiler.launch(g.y, [=, &v = values, &context] {
    ConvArguments arguments;
    arguments.handle = context.convHandle.get();
    arguments.x = x();
    arguments.sums = end.sums ? context.scratch.as<float>() : nullptr;
    arguments.w = weight;
    arguments.y = v.at(g.y);
    arguments.bias = bias;
    arguments.slopes = slopes;
    arguments.residual = v.atOrNull<void>(end.residual);
    plan->run(arguments, context.workspace.as(), context.stream);
  });
}

void compileOnto(StepCompiler& compiler, const ConvGeometry& g, const operators::Upsample& upsample, int small) {
  const Layout x = compiler.values().layout(g.x), y = compiler.values().layout(g.y);
  const TileConv shape{compiler.batch(),     y.height, y.width, x.paddedChannels, y.paddedChannels, 1, g.kernel,
                       ActivationKind::None, 0.f};
  const Enlargement enlargement{upsample.factor(), upsample.cubic(), y.channels};
  const auto* weight = static_cast<const bf16*>(packOf(compiler, g).data);
  const float* bias = g.bias.parameter >= 0 ? columnsOf(compiler, g.bias) : nullptr;
  compiler.launch(g.y, [=, &v = compiler.values(), stream = compiler.stream()] {
    tileConvOnto(shape, enlargement, v.at<bf16>(g.x), weight, bias, v.at<float>(small), v.at<float>(g.y), stream);
  });
}

void compileToInput(StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate) {
  Context& context = compiler.context();
  const Values& values = compiler.values();
  const Way way = wayOf(compiler, g);
  if (way == Way::Plan) return compilePlanToInput(compiler, g, end, gate);
  WBSR_CHECK(gate < 0);
  const bool ends = end.bias || end.residual >= 0 || end.activation != ActivationKind::None;
  if (way == Way::Depthwise) {
    WBSR_CHECK(!ends);
    compiler.launchAs(g.x, g.x,
                      [=, &v = values, stream = compiler.stream(), shape = depthwiseShape(compiler, g, end),
                       weight = columnsOf(compiler, g.weight)](auto type) {
                        using T = decltype(type);
                        depthwiseConvBackwardData(shape, v.at<const T>(g.y), weight, v.at<T>(g.x), stream);
                      });
  } else if (way == Way::Small && !ends) {
    compiler.launch(g.x, [=, &v = values, &c = context, shape = smallShape(compiler, g, end)] {
      smallConvBackwardData(shape, v.at<float>(g.y), c.weights->weights(g.weight), v.at<float>(g.x), c.stream);
    });
  } else {
    compiler.launch(g.x, [=, &v = values, &c = context, shape = directShape(compiler, g, end)] {
      directConvBackwardData(shape, v.at<float>(g.y), c.weights->weights(g.weight), masterBias(c, g, end),
                             v.atOrNull<float>(end.residual), v.at<float>(g.x), c.stream);
    });
  }
}

void compileToWeight(StepCompiler& compiler, const ConvGeometry& g) {
  const Values& values = compiler.values();
  Context& context = compiler.context();
  const auto beside = [&](Launches::Work work) {
    compiler.launchBeside({values.range(g.x), values.range(g.y)}, std::move(work));
  };
  switch (wayOf(compiler, g)) {
    case Way::Plan: return compilePlanToWeight(compiler, g);
    case Way::Small: {
      const SmallConv shape = smallShape(compiler, g, {});
      compiler.needSideScratch(smallConvScratch(shape));
      return beside([=, &v = values, &c = context] {
        smallConvBackwardWeights(shape, v.at<float>(g.x), v.at<float>(g.y), c.weights->gradient(g.weight),
                                 g.bias.parameter >= 0 ? c.weights->gradient(g.bias) : nullptr, c.sideScratch.as(),
                                 c.side);
      });
    }
    case Way::Direct:
      return beside([=, &v = values, &c = context, shape = directShape(compiler, g, {})] {
        directConvBackwardWeights(shape, v.at<float>(g.x), v.at<float>(g.y), c.weights->gradient(g.weight), c.side);
      });
    case Way::Depthwise: {
      const DepthwiseConv shape = depthwiseShape(compiler, g, {});
      ChannelSum sum{0, compiler.placeOf(g.weight), depthwiseChunks(shape), shape.channels, shape.realChannels};
      sum.area = shape.kernel * shape.kernel;
      sum.rows = context.weights->indices(g.weight.ranges[0]);
      return beside([=, &v = values, &c = context, partial = compiler.addAtEnd(sum)] {
        withType(v.isHalf(g.x), [&](auto type) {
          using T = decltype(type);
          depthwiseConvBackwardWeights(shape, v.at<const T>(g.x), v.at<const T>(g.y), partial(), c.side);
        });
      });
    }
  }
}

void compileToBias(StepCompiler& compiler, const ConvGeometry& g, int value) {
  // In small convolutions the kernel of the weights' gradient computes it.
  if (g.bias.parameter < 0 || (wayOf(compiler, g) == Way::Small && value == g.y)) return;
  const Values& values = compiler.values();
  const Layout l = values.layout(value);
  const int64_t pixels = l.pixels() * compiler.batch();
  ChannelSum sum{0, compiler.placeOf(g.bias), biasChunks(pixels, l.paddedChannels), l.paddedChannels, l.channels};
  sum.groups = compiler.program().values[static_cast<size_t>(value)].groups;
  sum.rows = compiler.context().weights->indices(g.bias.ranges[0]);
  compiler.launchBeside({values.range(value)},
                        [=, &v = values, &c = compiler.context(), partial = compiler.addAtEnd(sum)] {
                          withType(v.isHalf(value), [&](auto type) {
                            using T = decltype(type);
                            biasSums(v.at<const T>(value), partial(), pixels, l.paddedChannels, c.side);
                          });
                        });
}

void addOutputPlan(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end,
                   std::vector<ConvSpec>& specs) {
  if (wayOf(compiler, g) == Way::Plan) specs.push_back(specOf(compiler, g, ConvSpec::Forward, end));
}

void addInputPlan(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate,
                  std::vector<ConvSpec>& specs) {
  if (wayOf(compiler, g) == Way::Plan) specs.push_back(inputSpec(compiler, g, end, gate));
}

void addWeightPlan(const StepCompiler& compiler, const ConvGeometry& g, std::vector<ConvSpec>& specs) {
  if (wayOf(compiler, g) == Way::Plan) specs.push_back(specOf(compiler, g, ConvSpec::BackwardWeights, {}));
}

}  // namespace wbsr::cuda

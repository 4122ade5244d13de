// Convolutions: cuDNN where channels are many (conv/conv.h), our own kernels for thin and pooled values (conv/small_conv.cu).
#include "core/error.h"
#include "core/operators/conv.h"
#include "cuda/conv/kernels.h"
#include "cuda/program/operator.h"

namespace wbsr::cuda {
namespace {

using operators::Conv;

// The input and output of the forward convolution.
struct Ends {
  int in, out;
};
Ends endsOf(const Step& step) {
  if (step.kind == Conv::kKind) return {step.in[0], step.out};
  if (step.kind == Conv::kBackwardData) return {step.out, step.in[0]};
  return {step.in[0], step.in[1]};
}

bool isSmall(const Values& values, const Step& step) {
  const Ends ends = endsOf(step);
  return values.layout(ends.in).kind != Layout::Wide && values.layout(ends.out).kind != Layout::Wide;
}

const Value& inputOf(const StepCompiler& compiler, const Step& step) {
  return compiler.program().values[static_cast<size_t>(endsOf(step).in)];
}
const Value& outputOf(const StepCompiler& compiler, const Step& step) {
  return compiler.program().values[static_cast<size_t>(endsOf(step).out)];
}

const Parameter& weightOf(const StepCompiler& compiler, const Step& step) {
  return compiler.context().graph.parameters()[static_cast<size_t>(step.parameters[Conv::kWeight].parameter)];
}

// In floats, into the arena of parameters; -1 without a bias.
int64_t biasOffset(const StepCompiler& compiler, const Step& step) {
  if (step.parameters.size() <= Conv::kBias) return -1;
  return compiler.context().graph.parameters()[static_cast<size_t>(step.parameters[Conv::kBias].parameter)].offset;
}

SmallConv smallShape(const StepCompiler& compiler, const Step& step) {
  const Ends ends = endsOf(step);
  const Layout in = compiler.values().layout(ends.in), out = compiler.values().layout(ends.out);
  SmallConv c{};
  c.batch = compiler.batch();
  c.height = in.kind == Layout::Pooled ? 1 : in.height;
  c.width = in.kind == Layout::Pooled ? 1 : in.width;
  c.inChannels = in.channels;
  c.outChannels = out.channels;
  c.inStride = in.paddedChannels;
  c.outStride = out.paddedChannels;
  c.kernel = step.as<Conv>().kernel();
  c.fullIn = weightOf(compiler, step).shape[1];
  c.activation = step.activation;
  c.slope = step.slope;
  return c;
}

ConvSpec specOf(const StepCompiler& compiler, const Step& step) {
  const Context& c = compiler.context();
  const Values& values = compiler.values();
  const Ends ends = endsOf(step);
  const Type wide = c.half ? Type::Bf16 : Type::Float;
  const auto typeOf = [&](int value) { return values.isHalf(value) ? Type::Bf16 : Type::Float; };
  ConvSpec spec;
  spec.batch = compiler.batch();
  spec.kernel = step.as<Conv>().kernel();
  spec.precision = c.options.precision;
  spec.x = spec.y = wide;
  if (step.kind == Conv::kKind) {
    spec.mode = ConvSpec::Forward;
    spec.y = typeOf(ends.out);
    spec.bias = step.parameters.size() > Conv::kBias;
    spec.residual = step.residual >= 0;
    spec.activation = step.activation;
    spec.slope = step.slope;
  } else if (step.kind == Conv::kBackwardData) {
    spec.mode = ConvSpec::BackwardData;
    spec.x = typeOf(ends.in);
    spec.gate = step.activation != ActivationKind::None;
    spec.activation = step.activation;
    spec.slope = step.slope;
  } else {
    spec.mode = ConvSpec::BackwardWeights;
  }
  const Layout from = values.layout(ends.in);
  spec.height = from.height;
  spec.width = from.width;
  spec.inChannels = from.paddedChannels;
  spec.outChannels = values.layout(ends.out).paddedChannels;
  return spec;
}

void plans(const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs) {
  if (!isSmall(compiler.values(), step)) specs.push_back(specOf(compiler, step));
}

void compileSmallConv(StepCompiler& compiler, const Step& step) {
  compiler.launch(step.out, [=, &v = compiler.values(), &c = compiler.context(), shape = smallShape(compiler, step),
                             weight = weightOf(compiler, step).offset, bias = biasOffset(compiler, step)] {
    const float* master = c.weights->weights();
    smallConv(shape, v.at<float>(step.in[0]), master + weight, bias >= 0 ? master + bias : nullptr,
              v.atOrNull<float>(step.residual), v.at<float>(step.out), c.stream);
  });
}

void compileConv(StepCompiler& compiler, const Step& step) {
  if (isSmall(compiler.values(), step)) return compileSmallConv(compiler, step);
  Context& context = compiler.context();
  const auto plan = context.plans->get(specOf(compiler, step));
  compiler.needWorkspace(plan->workspace());
  const Value &in = inputOf(compiler, step), &out = outputOf(compiler, step);
  const void* weight = context.weights->weightPack(step.node, out.channels, in.channels, out.groups).data;
  const float* bias = context.weights->biasPack(step.node, out.channels, out.groups);
  const auto x = compiler.operand(step.in[0]);
  compiler.launch(step.out, [=, &v = compiler.values(), &context] {
    ConvArguments arguments;
    arguments.handle = context.convHandle.get();
    arguments.x = x();
    arguments.w = weight;
    arguments.y = v.at(step.out);
    arguments.bias = bias;
    arguments.residual = v.atOrNull<void>(step.residual);
    plan->run(arguments, context.workspace.as(), context.stream);
  });
}

// in[0] = dOut, out = dIn; in[1] = the gate where an activation's gradient was fused.
void compileBackwardData(StepCompiler& compiler, const Step& step) {
  Context& context = compiler.context();
  if (isSmall(compiler.values(), step)) {
    WBSR_CHECK(step.activation == ActivationKind::None);
    compiler.launch(step.out, [=, &v = compiler.values(), &context, shape = smallShape(compiler, step),
                               weight = weightOf(compiler, step).offset] {
      smallConvBackwardData(shape, v.at<float>(step.in[0]), context.weights->weights() + weight, v.at<float>(step.out),
                            context.stream);
    });
    return;
  }
  const auto plan = context.plans->get(specOf(compiler, step));
  compiler.needWorkspace(plan->workspace());
  const Value &in = inputOf(compiler, step), &out = outputOf(compiler, step);
  const void* weight = context.weights->weightPack(step.node, out.channels, in.channels, out.groups).data;
  const auto y = compiler.operand(step.in[0]);
  compiler.launch(step.out, [=, &v = compiler.values(), &context] {
    ConvArguments arguments;
    arguments.handle = context.convHandle.get();
    arguments.x = v.at(step.out);
    arguments.w = weight;
    arguments.y = y();
    arguments.gate = v.atOrNull<void>(step.input(1));
    plan->run(arguments, context.workspace.as(), context.stream);
  });
}

void compileSmallBackwardWeights(StepCompiler& compiler, const Step& step) {
  const Values& values = compiler.values();
  const SmallConv shape = smallShape(compiler, step);
  compiler.needSideScratch(smallConvScratch(shape));
  compiler.launchBeside({values.range(step.in[0]), values.range(step.in[1])}, [=, &v = values, &c = compiler.context(),
                                                                               weight = weightOf(compiler, step).offset,
                                                                               bias = biasOffset(compiler, step)] {
    float* gradient = c.weights->gradient();
    smallConvBackwardWeights(shape, v.at<float>(step.in[0]), v.at<float>(step.in[1]), gradient + weight,
                             bias >= 0 ? gradient + bias : nullptr, c.sideScratch.as(), c.side);
  });
}

void compileBiasGradient(StepCompiler& compiler, const Step& step, int64_t bias) {
  const Values& values = compiler.values();
  const Layout dOut = values.layout(step.in[1]);
  const int64_t pixels = dOut.pixels() * compiler.batch();
  const int channels = outputOf(compiler, step).channels, groups = outputOf(compiler, step).groups;
  compiler.needSideScratch(biasGradientScratch(pixels, dOut.paddedChannels));
  compiler.launchBeside({values.range(step.in[1])}, [=, &v = values, &c = compiler.context()] {
    withType(v.isHalf(step.in[1]), [&](auto type) {
      using T = decltype(type);
      biasGradient(v.at<T>(step.in[1]), c.weights->gradient() + bias, pixels, dOut.paddedChannels, channels, groups,
                   c.sideScratch.as(), c.side);
    });
  });
}

// in[0] = the forward input, in[1] = dOut; into the gradient arena, which within a pass nobody else touches: on the side
// stream, with memory of its own.
void compileBackwardWeights(StepCompiler& compiler, const Step& step) {
  const Values& values = compiler.values();
  if (isSmall(values, step)) return compileSmallBackwardWeights(compiler, step);
  Context& context = compiler.context();
  const auto plan = context.plans->get(specOf(compiler, step));
  compiler.needSideWorkspace(plan->workspace());
  const Value &in = inputOf(compiler, step), &out = outputOf(compiler, step);
  const Pack slice = context.weights->weightPack(step.node, out.channels, in.channels, out.groups);
  const int area = step.as<Conv>().kernel() * step.as<Conv>().kernel();
  const bool halfWritten = plan->written() == Type::Bf16;
  compiler.needSideScratch((halfWritten ? sizeof(bf16) : sizeof(float)) * static_cast<size_t>(slice.outPadded) * area *
                           slice.inPadded);
  const auto x = compiler.operand(step.in[0]), y = compiler.operand(step.in[1]);
  const Parameter& weight = weightOf(compiler, step);
  compiler.launchBeside({values.rangeOfOperand(step.in[0]), values.rangeOfOperand(step.in[1])},
                        [=, &c = context, offset = weight.offset, fullIn = weight.shape[1]] {
                          ConvArguments arguments;
                          arguments.handle = c.convHandle.get();
                          arguments.x = x();
                          arguments.w = c.sideScratch.as();
                          arguments.y = y();
                          plan->run(arguments, c.sideWorkspace.as(), c.side);
                          withType(halfWritten, [&](auto type) {
                            using T = decltype(type);
                            addWeightGradient(c.sideScratch.as<T>(), slice, area, fullIn,
                                              c.weights->gradient() + offset, c.side);
                          });
                        });
  if (const int64_t bias = biasOffset(compiler, step); bias >= 0) compileBiasGradient(compiler, step, bias);
}

const Registration forward(Conv::kKind, {compileConv, plans});
const Registration backwardData(Conv::kBackwardData, {compileBackwardData, plans});
const Registration backwardWeights(Conv::kBackwardWeights, {compileBackwardWeights, plans});

}  // namespace
}  // namespace wbsr::cuda

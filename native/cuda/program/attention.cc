#include "cuda/program/attention.h"

#include "core/error.h"
#include "core/operators/conv.h"
#include "core/operators/global_pool.h"
#include "cuda/conv/steps.h"
#include "cuda/kernels/attention.h"

namespace wbsr::cuda {
namespace {

using operators::Conv;
using operators::GlobalPool;

// The step of this kind that makes `value`, which nothing else reads; -1: none.
int makerOf(const Program& program, const Uses& uses, int value, StepKind kind) {
  if (value < 0 || uses.count[static_cast<size_t>(value)] != 1) return -1;
  const int producer = uses.producer[static_cast<size_t>(value)];
  return producer >= 0 && program.steps[static_cast<size_t>(producer)].kind == kind ? producer : -1;
}

bool isDense(const Program& program, const Step& step) {
  if (step.kind != Conv::kKind || step.in.size() != 1 || step.residual >= 0) return false;
  const auto& op = step.as<Conv>();
  return program.values[static_cast<size_t>(step.in[0])].pooled && op.keepsSize() && op.groups() == 1 &&
         !op.depthwise();
}

DenseLayer layerOf(const StepCompiler& compiler, const Step& step) {
  const auto channelsOf = [&](int value) { return compiler.program().values[static_cast<size_t>(value)].channels; };
  Weights& weights = *compiler.context().weights;
  const ParameterSlice& weight = step.parameters[Conv::kWeight];
  const std::vector<int>& shape = weights.parameter(weight).shape;
  return {channelsOf(step.in[0]),
          channelsOf(step.out),
          nullptr,
          nullptr,
          shape[1],
          shape[2] * shape[3],
          weights.indices(weight.ranges[0]),
          weights.indices(weight.ranges[1])};
}

Attention shapeOf(const Program& program, const Step& step) {
  const auto& op = step.as<AttentionFactors>();
  const Layout x = layoutOf(program.values[static_cast<size_t>(step.in[0])]),
               out = layoutOf(program.values[static_cast<size_t>(step.out)]);
  return {program.batch,           x.pixels(),         x.paddedChannels,       out.paddedChannels, {}, {},
          op.squeeze().activation, op.squeeze().slope, op.excite().activation, op.excite().slope};
}

// Whether the step can leave sums of its result.
bool canSum(const Program& program, const Step& step) {
  const auto value = [&](int id) -> const Value& { return program.values[static_cast<size_t>(id)]; };
  const bool bare = step.kind == Conv::kKind && step.in.size() == 1 && step.residual < 0 && !step.gate &&
                    step.activation == ActivationKind::None;
  return bare && layoutOf(value(step.out)).kind == Layout::Wide &&
         takesAnyEnd(value(step.in[0]), value(step.out), step.as<Conv>().depthwise());
}

// excite(squeeze(pool)), the step at `index` being excite.
bool fuseAt(Program& program, const Uses& uses, size_t index) {
  const Step& excite = program.steps[index];
  if (!isDense(program, excite)) return false;
  const int second = makerOf(program, uses, excite.in[0], Conv::kKind);
  if (second < 0 || !isDense(program, program.steps[static_cast<size_t>(second)])) return false;
  const Step& squeeze = program.steps[static_cast<size_t>(second)];
  const bool simple = squeeze.activation == ActivationKind::None || squeeze.activation == ActivationKind::Relu ||
                      squeeze.activation == ActivationKind::LeakyRelu;
  const int first = makerOf(program, uses, squeeze.in[0], GlobalPool::kKind);
  if (first < 0 || !simple) return false;
  const Step& pool = program.steps[static_cast<size_t>(first)];
  if (pool.as<GlobalPool>().deviation() || pool.activation != ActivationKind::None || pool.residual >= 0) return false;
  Step fused = excite;
  fused.kind = kAttention;
  fused.op = std::make_shared<AttentionFactors>(squeeze, excite);
  fused.in = pool.in;
  fused.parameters = squeeze.parameters;
  fused.parameters.insert(fused.parameters.end(), excite.parameters.begin(), excite.parameters.end());
  Attention shape = shapeOf(program, fused);
  shape.squeeze.outs = program.values[static_cast<size_t>(squeeze.out)].channels;
  if (!hasAttention(shape)) return false;
  // The sums lie in scratch memory, so that no other step may come between.
  const bool adjacent = first > 0 && static_cast<size_t>(first) + 2 == index;
  if (adjacent)
    if (Step& before = program.steps[static_cast<size_t>(first) - 1];
        before.out == fused.in[0] && canSum(program, before))
      before.kind = kConvSums;
  program.steps[index] = std::move(fused);
  program.steps.erase(program.steps.begin() + second);
  program.steps.erase(program.steps.begin() + first);
  program.forwardSteps -= 2;
  return true;
}

}  // namespace

void AttentionFactors::differentiate(const Step&, Backward&) const { WBSR_CHECK(false); }

void fuseAttention(Program& program) {
  Uses uses(program);
  for (int i = 0; i < program.forwardSteps; ++i) {
    if (!fuseAt(program, uses, static_cast<size_t>(i))) continue;
    i -= 2;
    uses = Uses(program);
  }
}

void compileAttention(StepCompiler& compiler, const Step& step) {
  const auto& op = step.as<AttentionFactors>();
  Attention shape = shapeOf(compiler.program(), step);
  shape.squeeze = layerOf(compiler, op.squeeze());
  shape.excite = layerOf(compiler, op.excite());
  const int left = compiler.takeSums(step.in[0]), chunks = left > 0 ? left : channelSumChunks(shape.pixels);
  const size_t sums = compiler.sumBytes(step.in[0], chunks);
  compiler.needScratch(sums + attentionScratch(shape, chunks));
  if (left == 0)
    compiler.launchAs(step.in[0], step.out, [=, &v = compiler.values(), &c = compiler.context()](auto type) {
      using T = decltype(type);
      channelSums(v.at<const T>(step.in[0]), c.scratch.as<float>(), shape.batch, shape.pixels, shape.channels,
                  c.stream);
    });
  compiler.launch(step.out, [=, &op, &v = compiler.values(), &c = compiler.context()] {
    Attention attention = shape;
    const auto master = [&](const Step& layer, size_t which) {
      return layer.parameters.size() > which ? c.weights->weights(layer.parameters[which]) : nullptr;
    };
    attention.squeeze.weight = master(op.squeeze(), Conv::kWeight);
    attention.squeeze.bias = master(op.squeeze(), Conv::kBias);
    attention.excite.weight = master(op.excite(), Conv::kWeight);
    attention.excite.bias = master(op.excite(), Conv::kBias);
    attentionFactors(attention, c.scratch.as<float>(), chunks, v.at<float>(step.out),
                     c.scratch.as<unsigned char>() + sums, c.stream);
  });
}

}  // namespace wbsr::cuda

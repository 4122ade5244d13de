// Where values lie, and the steps of a program one after the other.
#include "cpu/executable.h"

#include <cstring>
#include <vector>

#include "core/error.h"
#include "cpu/compiled.h"
#include "cpu/elementwise.h"
#include "cpu/loss.h"
#include "cpu/operators.h"

namespace wbsr::cpu {

Context::Context(const Graph& g) : graph(g) {
  lanes = preferredLanes(engine);
  kernels = &simd::kernels(lanes);
  weights = std::make_unique<WeightStore>(graph, lanes, engine);
}

Executable::Executable(Context& context, Program program) : context_(context), program_(std::move(program)) {
  const int lanes = context.lanes;
  plan(program_, [lanes](const Value& value) {
    return layoutOf(value, lanes).image();  // per image; multiplied below
  });
  for (int64_t& offset : program_.offsets)
    if (offset > 0) offset *= program_.batch;
  program_.arenaFloats *= program_.batch;
  compiled_.reserve(program_.steps.size());
  for (const Step& step : program_.steps) {
    compiled_.push_back(std::make_unique<Compiled>());
    compile(step, *compiled_.back());
  }
  if (program_.steps.size() == static_cast<size_t>(program_.forwardSteps)) deferActivations();
}

// Leaky relu in front of the RGB end, which Winograd cannot do itself: its only reader applies it while loading, which
// saves a pass over the largest value of the network. Inference only, since training reads the activated value again.
void Executable::deferActivations() {
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    Compiled& producer = *compiled_[i];
    const bool leaky = step.activation == ActivationKind::LeakyRelu || step.activation == ActivationKind::Relu;
    if (step.kind != StepKind::Conv || !producer.forward || producer.forward->activated || !leaky) continue;
    Compiled* reader = nullptr;
    int reads = step.out == program_.output ? 1 : 0;
    for (size_t j = i + 1; j < program_.steps.size(); ++j) {
      const Step& other = program_.steps[j];
      const bool first = other.in[0] == step.out;
      reads += first + (other.in[1] == step.out) + (other.residual == step.out);
      if (first && other.kind == StepKind::Conv &&
          layoutOf(program_.values[other.out], context_.lanes).kind == Layout::Thin)
        reader = compiled_[j].get();
    }
    if (reads != 1 || !reader) continue;
    producer.deferred = true;
    reader->inputSlope = step.slope;
  }
}

Executable::~Executable() = default;

float* Executable::at(int value) const {
  if (value == program_.input) return const_cast<float*>(input_);  // never written: external values are not in place
  if (value == program_.output) return output_;
  return arena_ + program_.offsets[value];
}

LossSums Executable::run(const RunArguments& arguments) {
  Context& c = context_;
  input_ = arguments.input;
  output_ = arguments.output;
  arena_ = c.arena.reserve(program_.arenaFloats);
  LossSums loss;
  const int batch = program_.batch;
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    if ((arguments.cancel && *arguments.cancel != 0) || (c.closing && *c.closing))
      throw Error("WBSR_ABORTED", "the job was cancelled");
    const Step& step = program_.steps[i];
    auto layout = [&](int value) { return layoutOf(program_.values[value], c.lanes); };
    auto floats = [&](int value) { return layout(value).image() * batch; };
    switch (step.kind) {
      case StepKind::Conv: conv(step, *compiled_[i]); break;
      case StepKind::Activation: {
        float* out = at(step.out);
        if (!step.inPlace) std::memcpy(out, at(step.in[0]), sizeof(float) * static_cast<size_t>(floats(step.out)));
        activate(*c.kernels, out, step.activation, step.slope, floats(step.out));
        break;
      }
      case StepKind::Add: {
        const float *a = at(step.in[0]), *b = at(step.in[1]);
        float* out = at(step.out);
        chunked(floats(step.out), [&](int64_t from, int64_t n) { c.kernels->add(out + from, a + from, b + from, n); });
        break;
      }
      case StepKind::ActivationBackward: {
        const float *dy = at(step.in[0]), *y = at(step.in[1]);
        float* dx = at(step.out);
        if (step.activation == ActivationKind::Sigmoid)
          sigmoidBackward(dx, dy, y, floats(step.out));
        else
          chunked(floats(step.out), [&](int64_t from, int64_t n) {
            c.kernels->leakyBackward(dx + from, dy + from, y + from, step.slope, n);
          });
        break;
      }
      case StepKind::PixelShuffle:
      case StepKind::PixelShuffleBackward: {
        const bool backward = step.kind == StepKind::PixelShuffleBackward;
        const Layout small = layout(backward ? step.out : step.in[0]), large = layout(backward ? step.in[0] : step.out);
        const float* from = at(step.in[0]);
        float* to = at(step.out);
        const float* activated = backward && step.in[1] >= 0 ? at(step.in[1]) : nullptr;
        const bool active = step.activation != ActivationKind::None;
        if (step.shuffled) {
          const int64_t rows = int64_t{batch} * large.blocks * small.h;
#pragma omp parallel for schedule(static)
          for (int64_t row = 0; row < rows; ++row) {
            const int y = static_cast<int>(row % small.h), block = static_cast<int>(row / small.h % large.blocks);
            const int64_t n = row / small.h / large.blocks;
            if (backward)
              c.kernels->unshuffleRow({to + n * small.image(), const_cast<float*>(from) + n * large.image(),
                                       large.blocks, small.h, small.w, step.factor},
                                      activated ? activated + n * large.image() : nullptr, block, y, step.slope);
            else
              c.kernels->shuffleRow({const_cast<float*>(from) + n * small.image(), to + n * large.image(), large.blocks,
                                     small.h, small.w, step.factor},
                                    block, y, active ? step.slope : 1.f);
          }
        } else {
          const int channels = program_.values[backward ? step.in[0] : step.out].channels;
          if (!backward) {
            shuffleGeneric(small, from, large, to, batch, step.factor, channels);
            activate(*c.kernels, to, step.activation, step.slope, floats(step.out));
          } else if (active) {
            std::vector<float> gradient(static_cast<size_t>(large.image() * batch));
            c.kernels->leakyBackward(gradient.data(), from, activated, step.slope,
                                     static_cast<int64_t>(gradient.size()));
            unshuffleGeneric(small, to, large, gradient.data(), batch, step.factor, channels);
          } else {
            unshuffleGeneric(small, to, large, from, batch, step.factor, channels);
          }
        }
        break;
      }
      case StepKind::Upsample:
        upsample(layout(step.in[0]), at(step.in[0]), at(step.out), batch, step.factor, step.cubic);
        break;
      case StepKind::UpsampleBackward:
        upsampleBackward(layout(step.out), at(step.in[0]), at(step.out), batch, step.factor, step.cubic);
        break;
      case StepKind::Crop:
        crop(layout(step.in[0]), at(step.in[0]), layout(step.out), at(step.out), batch, step.cropX, step.cropY);
        break;
      case StepKind::GlobalPool:
        globalPool(layout(step.in[0]), at(step.in[0]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::GlobalPoolBackward:
        globalPoolBackward(layout(step.out), at(step.in[0]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::ScaleChannels:
      case StepKind::ScaleChannelsBackwardInput:
        scaleChannels(layout(step.in[0]), at(step.in[0]), at(step.in[1]), at(step.out), batch,
                      program_.values[step.out].channels);
        break;
      case StepKind::ScaleChannelsBackwardFactors:
        scaleChannelsBackwardFactors(layout(step.in[0]), at(step.in[0]), at(step.in[1]), at(step.out), batch,
                                     program_.values[step.out].channels);
        break;
      case StepKind::Loss: {
        const Layout l = layout(step.out);
        loss = evaluateLoss(*arguments.loss, output_, arguments.target, batch, int64_t{l.h} * l.w, at(step.out),
                            arguments.lossGradientScale);
        break;
      }
      case StepKind::ConvBackwardData: convBackwardData(step, *compiled_[i]); break;
      case StepKind::ConvBackwardWeights: convBackwardWeights(step, *compiled_[i]); break;
    }
  }
  return loss;
}

}  // namespace wbsr::cpu

// Where values lie, and all steps but the convolutions (conv_steps.cc).
#include "cuda/executable.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/operators.h"
#include "cuda/rewrite.h"

namespace wbsr::cuda {

Executable::Executable(Context& context, Program program) : context_(context), program_(std::move(program)) {
  rewrite(program_);
  const bool half = context.half;
  // In units of 4 bytes, per image; multiplied by the batch below.
  plan(
      program_,
      [half](const Value& value) {
        const Layout l = layoutOf(value);
        if (l.kind == Layout::Wide) return half ? (l.image() + 1) / 2 : l.image();
        // Behind a thin value there is room for its copy in T, which convolutions read.
        return l.kind == Layout::Thin && half ? l.image() + l.image() / 2 : l.image();
      },
      false, training());
  for (int64_t& offset : program_.offsets)
    if (offset > 0) offset *= program_.batch;
  program_.arenaFloats *= program_.batch;
  compile();
  reserve();
}

size_t Executable::externalBytes(int value) const {
  const Layout l = layout(value);
  WBSR_CHECK(l.kind == Layout::Thin);
  return static_cast<size_t>(l.image() * program_.batch) * (sizeof(float) + (context_.half ? sizeof(bf16) : 0));
}

void Executable::reserve() {
  Context& c = context_;
  c.reserve(c.arena, sizeof(float) * static_cast<size_t>(program_.arenaFloats));
  c.reserve(c.input, externalBytes(program_.input));
  c.reserve(c.output, externalBytes(program_.output));
  c.reserve(c.workspace, workspace_);
  c.reserve(c.scratch, scratch_);
  c.reserve(c.sideWorkspace, sideWorkspace_);
  c.reserve(c.sideScratch, sideScratch_);
  c.reserve(c.cropOffsets, sizeof(int2) * static_cast<size_t>(program_.batch));
  if (!training()) return;
  const int64_t values = elements(program_.output);
  c.reserve(c.target, sizeof(float) * static_cast<size_t>(values));
  const size_t bytes = lossScratch(values / 8);
  if (bytes > c.lossScratch.bytes()) {
    c.reserve(c.lossScratch, bytes);
    WBSR_CUDA(cudaMemsetAsync(c.lossScratch.as(), 0, c.lossScratch.bytes(), c.stream));
  }
}

void* Executable::at(int value) const {
  if (value == program_.input) return context_.input.as();
  if (value == program_.output) return context_.output.as();
  WBSR_CHECK(program_.offsets[static_cast<size_t>(value)] >= 0);
  return context_.arena.as<float>() + program_.offsets[static_cast<size_t>(value)];
}

void* Executable::copyOf(int value) const { return at<float>(value) + elements(value); }

Launches::Range Executable::range(int value) const {
  const Context& c = context_;
  const int64_t bytes = elements(value) * static_cast<int64_t>(isHalf(value) ? sizeof(bf16) : sizeof(float));
  if (value == program_.input) return {&c.input, 0, bytes};
  if (value == program_.output) return {&c.output, 0, bytes};
  const int64_t offset = program_.offsets[static_cast<size_t>(value)] * static_cast<int64_t>(sizeof(float));
  WBSR_CHECK(offset >= 0);
  return {&c.arena, offset, offset + bytes};
}

Launches::Range Executable::rangeOfCopy(int value) const {
  const Launches::Range values = range(value);
  return {values.buffer, values.end, values.end + elements(value) * static_cast<int64_t>(sizeof(bf16))};
}

std::function<const void*()> Executable::operand(int value, std::vector<bool>& copied) {
  if (!readsCopy(value)) return [this, value] { return static_cast<const void*>(at(value)); };
  if (!copied[static_cast<size_t>(value)]) {
    copied[static_cast<size_t>(value)] = true;
    launches_.add(rangeOfCopy(value), [this, value] {
      cast(at<float>(value), static_cast<bf16*>(copyOf(value)), elements(value), context_.stream);
    });
  }
  return [this, value] { return static_cast<const void*>(copyOf(value)); };
}

void Executable::needScratch(size_t bytes) { scratch_ = std::max(scratch_, bytes); }
void Executable::needWorkspace(size_t bytes) { workspace_ = std::max(workspace_, bytes); }
void Executable::needSideScratch(size_t bytes) { sideScratch_ = std::max(sideScratch_, bytes); }
void Executable::needSideWorkspace(size_t bytes) { sideWorkspace_ = std::max(sideWorkspace_, bytes); }

void Executable::compile() {
  preparePlans();
  std::vector<bool> copied(program_.values.size(), false);
  copied[static_cast<size_t>(program_.input)] = true;  // comes with the input
  for (const Step& step : program_.steps) compileStep(step, copied);
  launches_.schedule();
}

void Executable::compileStep(const Step& step, std::vector<bool>& copied) {
  const int batch = program_.batch;
  const cudaStream_t stream = context_.stream;
  const int a = step.in[0], b = step.in[1], out = step.out;
  const auto push = [&](auto&& work) { launches_.add(range(out), std::forward<decltype(work)>(work)); };
  switch (step.kind) {
    case StepKind::Conv: conv(step, copied); break;
    case StepKind::ConvBackwardData: convBackwardData(step, copied); break;
    case StepKind::ConvBackwardWeights: convBackwardWeights(step, copied); break;
    case StepKind::Activation:
    case StepKind::ActivationBackward:
      push([=, this, backward = step.kind == StepKind::ActivationBackward, kind = step.activation, slope = step.slope] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          if (backward)
            activationBackward(at<T>(a), at<T>(b), at<T>(out), elements(out), kind, slope, stream);
          else
            activation(at<T>(a), at<T>(out), elements(out), kind, slope, stream);
        });
      });
      break;
    case StepKind::Add:
      push([=, this] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          add(at<T>(a), at<T>(b), at<T>(out), elements(out), stream);
        });
      });
      break;
    case StepKind::PixelShuffle:
    case StepKind::PixelShuffleBackward: {
      const bool backward = step.kind == StepKind::PixelShuffleBackward;
      const int small = backward ? out : a, large = backward ? a : out;
      const Layout s = layout(small), l = layout(large);
      const ShuffleShape shape{
          batch,           s.height,  s.width, step.factor, l.channels, step.shuffled, l.kind == Layout::Thin,
          step.activation, step.slope};
      push([=, this] {
        const auto go = [&](auto smallType, auto largeType) {
          using S = decltype(smallType);
          using L = decltype(largeType);
          if (backward)
            pixelShuffleBackward(shape, at<L>(a), b >= 0 ? at<L>(b) : nullptr, at<S>(out), stream);
          else
            pixelShuffle(shape, at<S>(a), at<L>(out), stream);
        };
        if (!isHalf(small)) {
          WBSR_CHECK(!isHalf(large));
          go(float{}, float{});
        } else if (isHalf(large)) {
          go(bf16{}, bf16{});
        } else {
          go(bf16{}, float{});
        }
      });
      break;
    }
    case StepKind::Upsample:
      push([=, this, l = layout(a), factor = step.factor, cubic = step.cubic] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          upsample(at<T>(a), b >= 0 ? at<T>(b) : nullptr, at<T>(out), batch, l.height, l.width, l.paddedChannels,
                   factor, cubic, stream);
        });
      });
      break;
    case StepKind::UpsampleBackward:
      push([=, this, l = layout(out), factor = step.factor, cubic = step.cubic] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          upsampleBackward(at<T>(a), at<T>(out), batch, l.height, l.width, l.paddedChannels, factor, cubic, stream);
        });
      });
      break;
    case StepKind::Crop:
      push([=, this, from = layout(a), to = layout(out)] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          crop(at<T>(a), at<T>(out), batch, from.height, from.width, to.height, to.width, to.paddedChannels,
               context_.cropOffsets.as<int2>(), stream);
        });
      });
      break;
    case StepKind::GlobalPool:
      needScratch(globalPoolScratch(batch, layout(a).pixels(), layout(a).paddedChannels));
      push([=, this, l = layout(a)] {
        withType(isHalf(a), [&](auto type) {
          using T = decltype(type);
          globalPool(at<T>(a), at<float>(out), batch, l.pixels(), l.paddedChannels, context_.scratch.as(), stream);
        });
      });
      break;
    case StepKind::GlobalPoolBackward:
      push([=, this, l = layout(out)] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          globalPoolBackward(at<float>(a), at<T>(out), batch, l.pixels(), l.paddedChannels, stream);
        });
      });
      break;
    case StepKind::ScaleChannels:
    case StepKind::ScaleChannelsBackwardInput:
      push([=, this, l = layout(out), residual = step.residual] {
        withType(isHalf(out), [&](auto type) {
          using T = decltype(type);
          scaleChannels(at<T>(a), at<float>(b), residual >= 0 ? at<T>(residual) : nullptr, at<T>(out), batch,
                        l.pixels(), l.paddedChannels, stream);
        });
      });
      break;
    case StepKind::ScaleChannelsBackwardFactors:
      needScratch(globalPoolScratch(batch, layout(a).pixels(), layout(a).paddedChannels));
      push([=, this, l = layout(a)] {
        withType(isHalf(a), [&](auto type) {
          using T = decltype(type);
          scaleChannelsBackwardFactors(at<T>(a), at<T>(b), at<float>(out), batch, l.pixels(), l.paddedChannels,
                                       context_.scratch.as(), stream);
        });
      });
      break;
    case StepKind::Loss:
      push([=, this] {
        Context& c = context_;
        loss(c.lossParameters.as<LossParameters>(), at<float>(a), 8, c.target.as<float>(), 8, at<float>(out), 8,
             elements(out) / 8, c.lossSums.as<double>(), c.lossScratch.as(), stream);
      });
      break;
  }
}

void Executable::launchAll(Launches::Kind kind) { launches_.run(context_.stream, context_.side, kind); }

void Executable::run() {
  reserve();
  context_.weights->refresh();
  if (generation_ != context_.generation) graph_.reset();
  generation_ = context_.generation;
  if (graph_.captured()) {
    graph_.launch(context_.stream);
  } else if (++runs_ == 1) {
    launchAll(Launches::Direct);
  } else {
    // A call that waits for the device in another thread of the process (a driver's, a library's) ends the capture.
    // That is no failure of this device: what follows either runs, or fails for a reason of its own.
    try {
      graph_.capture(context_.stream, [this] { launchAll(Launches::Captured); });
    } catch (const Error&) {
      launchAll(Launches::Direct);
      return;
    }
    graph_.launch(context_.stream);
  }
}

}  // namespace wbsr::cuda

#include "cuda/program/executable.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/frequency_loss.h"
#include "cuda/program/attention.h"
#include "cuda/program/ends.h"
#include "cuda/program/gradient_ends.h"
#include "cuda/registry.h"

namespace wbsr::cuda {

Executable::Executable(Context& context, Program program) : context_(context), program_(std::move(program)) {
  fuseGradientEnds(program_);
  fuseAttention(program_);
  fuseEnds(program_, context.half);
  placeValues();
  compile();
  reserve();
}

void Executable::placeValues() {
  const bool half = context_.half;
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
}

void Executable::compile() {
  StepCompiler compiler(context_, program_, values_, launches_, constants_);
  std::vector<ConvSpec> specs;
  for (const Step& step : program_.steps)
    if (const auto plans = registry().at(step.kind).plans) plans(compiler, step, specs);
  context_.plans->prepare(specs);
  for (const Step& step : program_.steps) registry().at(step.kind).compile(compiler, step);
  compiler.finishGradients();
  launches_.schedule();
  needs_ = compiler.needs();
}

size_t Executable::externalBytes(int value) const {
  const Layout l = values_.layout(value);
  WBSR_CHECK(l.kind == Layout::Thin);
  return static_cast<size_t>(l.image() * program_.batch) * (sizeof(float) + (context_.half ? sizeof(bf16) : 0));
}

void Executable::reserve() {
  Context& c = context_;
  c.reserve(c.arena, sizeof(float) * static_cast<size_t>(program_.arenaFloats));
  c.reserve(c.input, externalBytes(program_.input));
  c.reserve(c.output, externalBytes(program_.output));
  c.reserve(c.workspace, needs_.workspace);
  c.reserve(c.scratch, needs_.scratch);
  c.reserve(c.sideWorkspace, needs_.sideWorkspace);
  c.reserve(c.sideScratch, needs_.sideScratch);
  c.reserve(c.gradientParts, needs_.gradientParts);
  c.reserve(c.cropOffsets, sizeof(int2) * static_cast<size_t>(program_.batch));
  if (!training()) return;
  const int64_t values = values_.elements(program_.output);
  c.reserve(c.target, sizeof(float) * static_cast<size_t>(values));
  if (c.lossHasFrequency) {
    const Layout l = values_.layout(program_.output);
    c.reserve(c.scratch, frequencyScratch(program_.batch, l.height, l.width));
  }
  const size_t bytes = lossScratch(values / 8);
  if (bytes > c.lossScratch.bytes()) {
    c.reserve(c.lossScratch, bytes);
    WBSR_CUDA(cudaMemsetAsync(c.lossScratch.as(), 0, c.lossScratch.bytes(), c.stream));
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
  } else if (++runs_ == 1 || failedCaptures_ == kMostCaptures) {
    launchAll(Launches::Direct);
  } else {
    // A call that waits for the device in another thread of the process (a driver's, a library's) ends the capture.
    // That is no failure of this device. If the device has failed, the next call reports it.
    try {
      graph_.capture(context_.stream, [this] { launchAll(Launches::Captured); });
    } catch (const Error&) {
      if (++failedCaptures_ == kMostCaptures) ++context_.programsWithoutGraph;
      launchAll(Launches::Direct);
      return;
    }
    failedCaptures_ = 0;
    graph_.launch(context_.stream);
  }
}

}  // namespace wbsr::cuda

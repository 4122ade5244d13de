// Where values lie, and the steps of a program one after the other.
#include "cpu/executable.h"

#include <algorithm>

#include "core/cancel.h"
#include "core/error.h"
#include "core/shuffled_conv.h"
#include "cpu/conv_primitives.h"
#include "cpu/operators/conv.h"

namespace wbsr::cpu {

Context::Context(const Graph& g, std::shared_ptr<WeightStore> store) : graph(g), weights(std::move(store)) {
  lanes = lanesOfBlocks();
  kernels = &simd::kernels(lanes);
}

Executable::Executable(Context& context, Program program) : context_(context), program_(std::move(program)) {
  const int lanes = context.lanes;
  // The convolution in 8 bits is worth more than the pass saved.
  if (context.precision != Precision::Int8)
    fuseShuffles(program_, [lanes](const Program& all, const Step& conv, const Step& shuffle) {
      return layoutOf(all.values[static_cast<size_t>(shuffle.out)], lanes).kind == Layout::Blocked &&
             writesShuffled(all, conv, lanes);
    });
  plan(program_, [lanes](const Value& value) {
    return layoutOf(value, lanes).image();  // per image; multiplied below
  });
  for (int64_t& offset : program_.offsets)
    if (offset > 0) offset *= program_.batch;
  program_.arenaFloats *= program_.batch;
  kernels_.reserve(program_.steps.size());
  for (const Step& step : program_.steps) kernels_.push_back(registry().make(StepView(*this, step)));
  if (program_.inference()) deferActivations();
}

// An activation that would be a pass of its own, such as leaky relu behind a convolution of oneDNN that cannot fuse it: where the value's only reader applies it while loading, a pass over the largest value of the network is saved.
// Inference only, since training reads the activated value again.
void Executable::deferActivations() {
  const Uses uses(program_);
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (!kernels_[i]->activatesApart() || uses.count[static_cast<size_t>(step.out)] != 1) continue;
    for (size_t j = i + 1; j < program_.steps.size(); ++j)
      if (program_.steps[j].in[0] == step.out && kernels_[j]->activateInput(step.activation, step.slope))
        kernels_[i]->leaveActivation();
  }
}

float* Executable::at(int value) const {
  // Never written: external values are not in place.
  if (value == program_.input) return const_cast<float*>(arguments_.input);
  if (value == program_.output) return arguments_.output;
  return arena_ + program_.offsets[static_cast<size_t>(value)];
}

LossSums Executable::run(const RunArguments& arguments) {
  Context& c = context_;
  arguments_ = arguments;
  arena_ = c.arena.reserve(program_.arenaFloats);
  loss_ = {};
  if (c.precision == Precision::Int8) ranges_.assign(program_.values.size(), {});
  for (const auto& kernel : kernels_) {
    if (isSet(arguments.cancel) || (c.closing && *c.closing)) throw Error("WBSR_ABORTED", "the job was cancelled");
    kernel->run();
  }
  return loss_;
}

}  // namespace wbsr::cpu

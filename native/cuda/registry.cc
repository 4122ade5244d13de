#include "cuda/registry.h"

#include "core/error.h"
#include "core/operators/conv.h"

namespace wbsr::cuda {

void Registry::add(StepKind kind, Compile compile, Plans plans) {
  Entry& entry = entries_[kind];
  WBSR_CHECK(!entry.compile);
  entry.compile = compile;
  entry.plans = plans;
}

const Registry::Entry& Registry::at(StepKind kind) const {
  const auto found = entries_.find(kind);
  if (found == entries_.end())
    throw Error("WBSR_INTERNAL", "the CUDA device has no code for steps of kind " + std::string(kind));
  return found->second;
}

const Registry& registry() {
  static const Registry registry = [] {
    Registry made;
    registerOperators(made);
    return made;
  }();
  return registry;
}

int supports(const Program& program, const Step& step) {
  // What only convolutions do while they store.
  const bool both = step.residual >= 0 && step.activation != ActivationKind::None;
  if ((both || step.gate || step.slopes.parameter >= 0) && step.kind != operators::Conv::kKind) return 0;
  const Registry::Fuses fuses = registry().at(step.kind).fuses;
  return fuses ? fuses(program, step) : 0;
}

}  // namespace wbsr::cuda

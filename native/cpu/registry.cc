#include "cpu/registry.h"

#include "core/error.h"
#include "cpu/executable.h"

namespace wbsr::cpu {
namespace {

class RunKernel : public Kernel {
 public:
  RunKernel(const StepView& step, Registry::Run run) : step_(step), run_(run) {}
  void run() override { run_(step_); }

 private:
  StepView step_;
  Registry::Run run_;
};

}  // namespace

Context& StepView::context() const { return executable_.context(); }
const Program& StepView::program() const { return executable_.program(); }
const RunArguments& StepView::arguments() const { return executable_.arguments(); }
Layout StepView::inLayout(size_t k) const { return layoutOf(inValue(k), context().lanes); }
Layout StepView::outLayout() const { return layoutOf(outValue(), context().lanes); }
std::vector<float> StepView::parameter(size_t k, int padded) const {
  return context().weights->vector(step_.parameters[k], padded);
}

void StepView::addGradient(size_t k, const std::vector<double>& values) const {
  const ParameterSlice& slice = step_.parameters[k];
  float* gradient = context().gradients + context().weights->parameter(slice).offset;
  const std::vector<int> places = indicesOf(slice.ranges[0]);
  for (size_t i = 0; i < places.size(); ++i) gradient[places[i]] += static_cast<float>(values[i]);
}

const float* StepView::in(size_t k) const { return executable_.at(step_.in[k]); }
const float* StepView::residual() const { return step_.residual >= 0 ? executable_.at(step_.residual) : nullptr; }
float* StepView::out() const { return executable_.at(step_.out); }

const Registry::Entry& Registry::at(StepKind kind) const {
  const auto found = entries_.find(kind);
  if (found == entries_.end())
    throw Error("WBSR_INTERNAL", "the CPU device has no code for steps of kind " + std::string(kind));
  return found->second;
}

std::unique_ptr<Kernel> Registry::make(const StepView& step) const {
  const Entry& entry = at(step.step().kind);
  if (entry.make) return entry.make(step);
  return std::make_unique<RunKernel>(step, entry.run);
}

int Registry::supports(const Program& program, const Step& step) const {
  const Entry& entry = at(step.kind);
  return entry.fuses ? entry.fuses(program, step) : 0;
}

const Registry& registry() {
  static const Registry registry = [] {
    Registry made;
    registerOperators(made);
    return made;
  }();
  return registry;
}

}  // namespace wbsr::cpu

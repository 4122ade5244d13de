// Which code runs a kind of step on the CPU device. One file of cpu/operators per operator registers its kinds; CMake
// makes the list of these files (native/operator_tables.cmake).
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "core/program.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

struct Context;
struct RunArguments;
class Executable;

// A step of an executable and its operands, for the code that runs it. Pointers are valid for one run.
class StepView {
 public:
  StepView(Executable& executable, const Step& step) : executable_(executable), step_(step) {}

  const Step& step() const { return step_; }
  template <class Class>
  const Class& op() const {
    return step_.as<Class>();
  }
  Context& context() const;
  const Program& program() const;
  const RunArguments& arguments() const;
  int batch() const { return program().batch; }
  Executable& executable() const { return executable_; }

  const Value& inValue(size_t k) const { return program().values[static_cast<size_t>(step_.in[k])]; }
  const Value& outValue() const { return program().values[static_cast<size_t>(step_.out)]; }
  Layout inLayout(size_t k) const;
  Layout outLayout() const;
  int64_t outFloats() const { return outLayout().image() * batch(); }  // of the whole batch

  // The values of a parameter with one dimension in the order of the step's channels, zeros up to `padded`.
  std::vector<float> parameter(size_t k, int padded) const;
  // Adds to the gradient of such a parameter: one number per channel of the step.
  void addGradient(size_t k, const std::vector<double>& values) const;

  const float* in(size_t k) const;
  const float* residual() const;  // null without
  float* out() const;

 private:
  Executable& executable_;
  const Step& step_;
};

// Runs one step. Made once with the executable; may keep primitives.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run() = 0;
  // Whether the step's activation is a separate pass over the output, which the output's only reader may do instead;
  // whether this step can do that for its first input; and deferral of this step's (Executable::deferActivations).
  virtual bool activatesApart() const { return false; }
  virtual bool activateInput(ActivationKind /*activation*/, float /*slope*/) { return false; }
  virtual void leaveActivation() {}
};

class Registry {
 public:
  using Run = void (*)(const StepView& step);
  using Make = std::unique_ptr<Kernel> (*)(const StepView& step);
  using Fuses = int (*)(const Program& program, const Step& step);

  void add(StepKind kind, Run run) { entries_[kind].run = run; }
  void add(StepKind kind, Make make) { entries_[kind].make = make; }
  // Which activation and residual a step of that kind takes: wbsr::Supports.
  void fuses(StepKind kind, Fuses fuses) { entries_[kind].fuses = fuses; }

  std::unique_ptr<Kernel> make(const StepView& step) const;
  int supports(const Program& program, const Step& step) const;

 private:
  struct Entry {
    Run run = nullptr;
    Make make = nullptr;
    Fuses fuses = nullptr;
  };
  const Entry& at(StepKind kind) const;
  std::map<StepKind, Entry> entries_;
};

void registerOperators(Registry& registry);  // generated
const Registry& registry();

}  // namespace wbsr::cpu

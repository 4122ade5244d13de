// Which code runs a kind of step on the CUDA device. Each file of cuda/operators holds one operator: its kernels, their
// launchers, and at its end `void register_NAME(Registry&)`; CMake makes the list of these (native/operator_tables.cmake).
#pragma once
#include <map>
#include <vector>

#include "cuda/program/step_compiler.h"

namespace wbsr::cuda {

class Registry {
 public:
  // Queues the launches of a step.
  using Compile = void (*)(StepCompiler& compiler, const Step& step);
  // Adds the convolutions by cuDNN that Compile asks the plan cache for: they are built together beforehand.
  using Plans = void (*)(const StepCompiler& compiler, const Step& step, std::vector<ConvSpec>& specs);
  // Whether the kind takes the step's activation and residual: wbsr::Supports.
  using Fuses = int (*)(const Program& program, const Step& step);

  struct Entry {
    Compile compile = nullptr;
    Plans plans = nullptr;
    Fuses fuses = nullptr;
  };

  void add(StepKind kind, Compile compile, Plans plans = nullptr);
  void fuses(StepKind kind, Fuses fuses) { entries_[kind].fuses = fuses; }
  // Throws WBSR_INTERNAL where no operator has added the kind.
  const Entry& at(StepKind kind) const;

 private:
  std::map<StepKind, Entry> entries_;
};

void registerOperators(Registry& registry);  // generated
const Registry& registry();

// wbsr::Supports of the CUDA device.
int supports(const Program& program, const Step& step);

}  // namespace wbsr::cuda

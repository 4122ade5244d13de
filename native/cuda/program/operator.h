// How the steps of a Program become launches. Each file of operators/ holds one operator: its kernels, their launchers,
// and at its end the registration of a compile function for each of its step kinds.
#pragma once
#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "cuda/program/values.h"

namespace wbsr::cuda {

// What a compile function has to work with. References stay valid as long as the launches.
class StepCompiler {
 public:
  // Bytes of the context's memory that the launches need.
  struct Needs {
    size_t scratch = 0, workspace = 0, sideScratch = 0, sideWorkspace = 0;
  };

  StepCompiler(Context& context, const Program& program, const Values& values, Launches& launches);

  Context& context() const { return context_; }
  const Program& program() const { return program_; }
  const Values& values() const { return values_; }
  int batch() const { return program_.batch; }
  cudaStream_t stream() const { return context_.stream; }
  const Needs& needs() const { return needs_; }

  // Queues `work` on the main stream; it writes the value `out`.
  void launch(int out, Launches::Work work) { launches_.add(values_.range(out), std::move(work)); }
  // The same, with work(T{}), T the type of the value `typed`.
  template <typename F>
  void launchAs(int typed, int out, F work) {
    launch(out, [half = values_.isHalf(typed), work = std::move(work)] { withType(half, work); });
  }
  // Queues `work` on the side stream (launches.h); it adds to the gradient arena and reads values in `reads`.
  void launchBeside(std::vector<Launches::Range> reads, Launches::Work work) {
    launches_.addBeside(std::move(reads), std::move(work));
  }

  // context.scratch and context.workspace hold at least `bytes` when the step runs, beside: those of the side stream.
  void needScratch(size_t bytes) { needs_.scratch = std::max(needs_.scratch, bytes); }
  void needWorkspace(size_t bytes) { needs_.workspace = std::max(needs_.workspace, bytes); }
  void needSideScratch(size_t bytes) { needs_.sideScratch = std::max(needs_.sideScratch, bytes); }
  void needSideWorkspace(size_t bytes) { needs_.sideWorkspace = std::max(needs_.sideWorkspace, bytes); }

  // What a convolution by cuDNN reads: the value itself, or its copy in bf16, which is queued here for the first reader.
  std::function<const void*()> operand(int value);

 private:
  Context& context_;
  const Program& program_;
  const Values& values_;
  Launches& launches_;
  Needs needs_;
  std::vector<bool> copied_;  // values whose copy is queued
};

struct Operator {
  // Queues the launches of a step.
  void (*compile)(StepCompiler&, const Step&) = nullptr;
  // The convolutions by cuDNN that compile() asks the plan cache for: they are built together beforehand. May be null.
  void (*plans)(const StepCompiler&, const Step&, std::vector<ConvSpec>&) = nullptr;
};

// At namespace scope: `const Registration registration(operators::Add::kKind, {compileAdd});`
class Registration {
 public:
  Registration(StepKind kind, Operator definition);
};

// Throws WBSR_INTERNAL where no operator has registered the kind.
const Operator& operatorOf(StepKind kind);

}  // namespace wbsr::cuda

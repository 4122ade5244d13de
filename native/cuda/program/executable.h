// A Program compiled for the CUDA device: cuDNN plans and kernel launches in order, captured as one CUDA graph. The weight
// gradients of a training program are a branch of it (launches.h).
#pragma once
#include "core/program.h"
#include "cuda/program/step_compiler.h"

namespace wbsr::cuda {

class Executable {
 public:
  // program: lowered, fused and, for training, differentiated. Builds the plans; reserves the context's memory.
  Executable(Context& context, Program program);
  // Launches refer to members.
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;

  // Makes sure that the context's memory is large enough, also when another executable's failure has freed it.
  void reserve();
  // Asynchronous on the context's stream: context.input -> context.output; a training program also reads context.target
  // and context.lossParameters, writes context.lossSums and adds to the gradient arena. The first run launches step by
  // step (libraries load kernels then), the second one is captured, later ones replay it. A capture that fails is tried
  // again by the next runs, kMostCaptures times in all; after that every run launches step by step, which costs the
  // processor more (Context::programsWithoutGraph).
  void run();

  const Program& program() const { return program_; }
  bool training() const { return !program_.inference(); }
  bool captured() const { return graph_.captured(); }
  const Launches& launches() const { return launches_; }

  float* inputThin() const { return context_.input.as<float>(); }
  // The copy of the input in T that the first convolution reads; null where there is none.
  void* inputCopy() const { return context_.half ? values_.copyOf(program_.input) : nullptr; }
  const float* outputThin() const { return context_.output.as<float>(); }

 private:
  static constexpr int kMostCaptures = 3;

  void placeValues();
  void compile();
  void launchAll(Launches::Kind kind);
  size_t externalBytes(int value) const;

  Context& context_;
  Program program_;
  const Values values_{context_, program_};
  StepCompiler::Constants constants_;
  Launches launches_;
  StepCompiler::Needs needs_;
  Graph graph_;
  uint64_t generation_ = 0;
  int runs_ = 0, failedCaptures_ = 0;
};

}  // namespace wbsr::cuda

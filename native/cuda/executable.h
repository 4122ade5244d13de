// A Program compiled for the CUDA device: cuDNN plans and kernel launches in order, captured as one CUDA graph. The weight
// gradients of a training program are a branch of it (launches.h).
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "core/program.h"
#include "cuda/context.h"
#include "cuda/launches.h"
#include "cuda/layout.h"

namespace wbsr::cuda {

class Executable {
 public:
  // program: lowered, fused and, for training, differentiated. Builds the plans; reserves the context's memory.
  Executable(Context& context, Program program);

  // Makes sure that the context's memory is large enough, also when another executable's failure has freed it.
  void reserve();
  // Asynchronous on the context's stream: context.input -> context.output; a training program also reads context.target
  // and context.lossParameters, writes context.lossSums and adds to the gradient arena. The first run launches step by
  // step (libraries load kernels then), the second one is captured, later ones replay it.
  void run();

  const Program& program() const { return program_; }
  bool training() const { return program_.steps.size() != static_cast<size_t>(program_.forwardSteps); }
  bool captured() const { return graph_.captured(); }
  const Launches& launches() const { return launches_; }

  float* inputThin() const { return context_.input.as<float>(); }
  // The copy of the input in T that the first convolution reads; null where there is none.
  void* inputCopy() const { return context_.half ? copyOf(program_.input) : nullptr; }
  const float* outputThin() const { return context_.output.as<float>(); }

 private:
  void compile();
  void compileStep(const Step& step, std::vector<bool>& copied);
  void conv(const Step& step, std::vector<bool>& copied);
  void convBackwardData(const Step& step, std::vector<bool>& copied);
  void convBackwardWeights(const Step& step, std::vector<bool>& copied);
  void launchAll(Launches::Kind kind);

  Layout layout(int value) const { return layoutOf(program_.values[static_cast<size_t>(value)]); }
  bool isHalf(int value) const { return context_.half && layout(value).kind == Layout::Wide; }
  int64_t elements(int value) const { return layout(value).image() * program_.batch; }
  void* at(int value) const;
  template <typename T>
  T* at(int value) const {
    return static_cast<T*>(at(value));
  }
  void* copyOf(int value) const;
  // The memory of a value, and of its copy in T.
  Launches::Range range(int value) const;
  Launches::Range rangeOfCopy(int value) const;
  // What a convolution reads: the value itself, or its copy in T, made here for the first reader.
  std::function<const void*()> operand(int value, std::vector<bool>& copied);
  bool readsCopy(int value) const { return context_.half && layout(value).kind != Layout::Wide; }
  Launches::Range rangeOfOperand(int value) const { return readsCopy(value) ? rangeOfCopy(value) : range(value); }
  bool small(const Step& step) const;
  ConvSpec specOf(const Step& step) const;
  std::shared_ptr<const ConvPlan> planOf(const Step& step) const;
  void preparePlans();
  // Of the main stream, and of the side stream.
  void needScratch(size_t bytes);
  void needWorkspace(size_t bytes);
  void needSideScratch(size_t bytes);
  void needSideWorkspace(size_t bytes);
  size_t externalBytes(int value) const;

  Context& context_;
  Program program_;
  Launches launches_;
  size_t scratch_ = 0, workspace_ = 0, sideScratch_ = 0, sideWorkspace_ = 0;
  Graph graph_;
  uint64_t generation_ = 0;
  int runs_ = 0;
};

}  // namespace wbsr::cuda

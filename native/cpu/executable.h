// A Program compiled for the CPU device: primitives built once, run many times.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "core/loss_spec.h"
#include "core/precision.h"
#include "core/program.h"
#include "cpu/buffer.h"
#include "cpu/int8.h"
#include "cpu/registry.h"
#include "cpu/simd/kernels.h"
#include "cpu/weight_store.h"

namespace wbsr::cpu {

// What the executables of one thread share, or those that run on all threads of a device.
struct Context {
  const Graph& graph;
  dnnl::engine engine = cpuEngine();
  dnnl::stream stream{engine};
  int lanes = 16;
  Precision precision = Precision::Fp32;  // Int8: of inference
  const simd::Kernels* kernels = nullptr;
  std::shared_ptr<WeightStore> weights;        // of the device
  float* gradients = nullptr;                  // the flat gradient arena, added to
  const std::atomic<bool>* closing = nullptr;  // the process or thread is ending: stop between steps

  // Used by one executable at a time.
  Buffer arena, scratch;
  dnnl::memory scratchpad(const dnnl::memory::desc& desc) {
    return dnnl::memory(desc, engine, scratch.reserve(static_cast<int64_t>((desc.get_size() + 3) / 4)));
  }
  int64_t bytes() const { return arena.bytes() + scratch.bytes(); }
  Context(const Graph& g, std::shared_ptr<WeightStore> store);
};

struct RunArguments {
  const float* input = nullptr;   // (N, 3, h, w)
  float* output = nullptr;        // (N, 3, H, W)
  const float* target = nullptr;  // training: like output
  const LossSpec* loss = nullptr;
  float lossGradientScale = 1.f;
  const volatile int32_t* cancel = nullptr;
};

class Executable {
 public:
  Executable(Context& context, Program program);
  // Throws WBSR_ABORTED between steps when cancelled. Returns the loss of a training program.
  LossSums run(const RunArguments& arguments);
  const Program& program() const { return program_; }

  // For the kernels of the steps.
  Context& context() { return context_; }
  const RunArguments& arguments() const { return arguments_; }
  float* at(int value) const;
  void setLoss(const LossSums& loss) { loss_ = loss; }
  // With Precision::Int8: ranges of a value's channels, one for each picture, where the step that made it in this run has left them; else empty.
  std::vector<ChannelRanges>& rangesOf(int value) { return ranges_[static_cast<size_t>(value)]; }

 private:
  void deferActivations();

  Context& context_;
  Program program_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
  // Of the run in progress.
  RunArguments arguments_;
  float* arena_ = nullptr;
  LossSums loss_;
  std::vector<std::vector<ChannelRanges>> ranges_;  // of the values
};

}  // namespace wbsr::cpu

// The interface with which an operator turns a step of a Program into launches (cuda/registry.h).
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/gradient_sums.h"
#include "cuda/program/values.h"

namespace wbsr::cuda {

// References stay valid as long as the launches.
class StepCompiler {
 public:
  // Bytes of the context's memory that the launches need.
  struct Needs {
    size_t scratch = 0, workspace = 0, sideScratch = 0, sideWorkspace = 0, gradientParts = 0;
  };

  using Constants = std::vector<std::unique_ptr<DeviceBuffer>>;

  StepCompiler(Context& context, const Program& program, const Values& values, Launches& launches,
               Constants& constants);

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
  // Queues `work` on the side stream (launches.h); it adds to the gradient arena, or leaves what is added at the end of
  // the pass, and reads values in `reads`.
  void launchBeside(std::vector<Launches::Range> reads, Launches::Work work) {
    launches_.addBeside(std::move(reads), std::move(work));
  }

  // context.scratch and context.workspace hold at least `bytes` when the step runs, beside: those of the side stream.
  void needScratch(size_t bytes) { needs_.scratch = std::max(needs_.scratch, bytes); }
  void needWorkspace(size_t bytes) { needs_.workspace = std::max(needs_.workspace, bytes); }
  void needSideScratch(size_t bytes) { needs_.sideScratch = std::max(needs_.sideScratch, bytes); }
  void needSideWorkspace(size_t bytes) { needs_.sideWorkspace = std::max(needs_.sideWorkspace, bytes); }

  // The step leaves sums over parts of each image's pixels of `value` at the beginning of context.scratch, float (N, chunks,
  // padded channels); the next step may take them.
  void leaveSums(int value, int chunks) {
    needScratch(sumBytes(value, chunks));
    sumsOf_ = value;
    sumChunks_ = chunks;
  }
  // Chunks that the step before has left; 0: none.
  int takeSums(int value) { return std::exchange(sumsOf_, -1) == value ? sumChunks_ : 0; }
  size_t sumBytes(int value, int chunks) const {
    return sizeof(float) * static_cast<size_t>(batch()) * chunks * values_.layout(value).paddedChannels;
  }

  // Adds the sum at the end of the pass. Returns the function that gives its part's address when the launches run.
  template <typename Sum>
  std::function<float*()> addAtEnd(const Sum& sum) {
    const int64_t at = gradientSums_.add(sum);
    return [&c = context_, at] { return c.gradientParts.as<float>() + at; };
  }
  // Queues these additions. Called once, behind the last step.
  void finishGradients();
  // Of the parameter's first element, in floats: the place of a sum (gradient_sums.h) in the gradient arena.
  int64_t placeOf(const ParameterSlice& slice) const { return context_.weights->parameter(slice).offset; }

  // A copy on the device, which lives as long as the launches. Null without values.
  template <typename T>
  const T* constants(const std::vector<T>& values) {
    return static_cast<const T*>(upload(values.data(), values.size() * sizeof(T)));
  }

  // The operand of a convolution by cuDNN: the value, or its copy in bf16, which is queued here for the first reader.
  std::function<const void*()> operand(int value);

 private:
  const void* upload(const void* values, size_t bytes);

  Context& context_;
  const Program& program_;
  const Values& values_;
  Launches& launches_;
  Constants& constants_;
  Needs needs_;
  int sumsOf_ = -1, sumChunks_ = 0;
  GradientSums gradientSums_;
  std::vector<bool> copied_;  // values whose copy is queued
};

}  // namespace wbsr::cuda

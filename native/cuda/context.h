// Shared by all executables of a CUDA device: streams, cuDNN plans, weights, and memory that one pass at a time uses.
#pragma once
#include <atomic>
#include <memory>

#include "core/graph.h"
#include "cuda/conv/conv.h"
#include "cuda/loss.h"
#include "core/device_kind.h"
#include "cuda/weights.h"

namespace wbsr::cuda {

struct Context {
  Context(const wbsr::Graph& graph, const DeviceOptions& options);

  const wbsr::Graph& graph;
  const DeviceOptions options;
  const bool half;  // wide values are bf16, else float
  Stream stream;    // all of the network except weight gradients
  Stream side;      // weight gradients, joined by `stream` at the end of a pass (launches.h)
  std::shared_ptr<ConvPlans> plans;
  // The handle that this context runs plans with. Other models have their own, because a handle that a capture uses
  // must not be set to a stream outside of the capture.
  std::shared_ptr<const ConvHandle> convHandle;
  std::unique_ptr<Weights> weights;

  // Memory with one user at a time. `generation` changes when any of it moves: graphs captured before are stale.
  DeviceBuffer arena;                       // values of the running program
  DeviceBuffer input;                       // its input: thin, then the copy in T
  DeviceBuffer output;                      // its output: thin, then the copy in T
  DeviceBuffer target;                      // training: like the output, (N, H, W, 8) float
  DeviceBuffer workspace;                   // cuDNN's
  DeviceBuffer scratch;                     // reductions
  DeviceBuffer sideWorkspace, sideScratch;  // the same for the side stream
  DeviceBuffer gradientParts;               // of the side stream, until the end of the pass (gradient_sums.h)
  DeviceBuffer lossScratch, lossParameters, lossSums;
  DeviceBuffer cropOffsets;  // (N) int2
  uint64_t generation = 0;
  // Whether the training loss has a frequency term, whose launches the graphs then hold.
  bool lossHasFrequency = false;
  void setLossHasFrequency(bool value);
  // Programs that launch step by step since their capture has failed too often; read by other threads.
  std::atomic<int> programsWithoutGraph{0};
  void reserve(DeviceBuffer& buffer, size_t bytes);

  int64_t bytes() const;
  // Frees memory that can be allocated again, after an allocation failed.
  void trim();
};

// Calls work(T{}) with the type of wide values.
template <typename F>
void withType(bool half, F&& work) {
  if (half)
    work(bf16{});
  else
    work(float{});
}

}  // namespace wbsr::cuda

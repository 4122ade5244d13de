// A convolution ready to run: an engine's plan, and our kernels for the operations that the plan leaves out.
#pragma once
#include <functional>
#include <memory>
#include <mutex>

#include "cuda/conv/engines.h"

namespace wbsr::cuda {

// A handle that plans run with, and a lock for its users: neither a handle nor a plan may be used by two threads at once.
// Calls only queue work, so that other threads wait for microseconds.
class ConvHandle {
 public:
  explicit ConvHandle(int device);
  ~ConvHandle();
  ConvHandle(const ConvHandle&) = delete;
  ConvHandle& operator=(const ConvHandle&) = delete;
  int device() const { return device_; }
  cudnn::Handle raw() const { return raw_; }
  std::mutex& turn() const { return turn_; }

 private:
  int device_;
  cudnn::Handle raw_ = nullptr;
  mutable std::mutex turn_;
};

// The wbsr::Error for a failure of cuDNN: WBSR_OUT_OF_MEMORY or WBSR_DEVICE_FAILED.
[[noreturn]] void throwCudnnError(const std::string& what, const cudnn::Failure& failure);

// handle: to run with. builder: the handle that the engine's plan was made with; it lives as long as the plan. failed:
// called when an execution fails for any reason except full memory; may be empty.
std::unique_ptr<ConvPlan> makeConvPlan(const ConvSpec& spec, const ConvVariant& variant, const ConvGraph& graph,
                                       EnginePlan engine, std::shared_ptr<const ConvHandle> handle,
                                       std::shared_ptr<const ConvHandle> builder,
                                       std::function<void()> failed = nullptr);

}  // namespace wbsr::cuda

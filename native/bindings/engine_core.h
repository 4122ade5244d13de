// What a class Engine holds natively: graph and device, and what must be true of them whatever JavaScript does. Jobs hold
// it too, so that dispose() never pulls memory from under a running one. No JavaScript in here.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/error.h"

namespace wbsr::bindings {

class EngineCore {
 public:
  // make(graph) -> the device; the graph stays where it is.
  template <typename Make>
  EngineCore(Graph made, Make&& make) : graph(std::move(made)), device_(make(static_cast<const Graph&>(graph))) {}

  const Graph graph;

  // What the device says of itself; not while it runs.
  const Device& device() const { return *device_; }

  // work(device) on the engine's thread, or anywhere while no job runs. A device that failed once is not touched again:
  // everything then ends with WBSR_DEVICE_FAILED and the first failure's words.
  template <typename Work>
  void run(Work&& work) {
    freeDiscarded();
    check();
    guarded(work);
  }
  // The second part of a job, beside run() on another thread: Device::wait and such. Also after a failure: the device
  // refuses it then, but has to hear of it, since a first part may be waiting for what it gives back.
  template <typename Work>
  void wait(Work&& work) {
    guarded(work);
  }

  // Throws when the device failed.
  void check() const {
    std::lock_guard<std::mutex> lock(lock_);
    if (!failure_.empty())
      throw Error("WBSR_DEVICE_FAILED",
                  "The device failed and this model cannot be used any more. It failed with: " + failure_);
  }

  // Freed by the next job, on its thread: the device may be in the middle of one now. Any thread.
  void discard(std::unique_ptr<Canvas> canvas) {
    std::lock_guard<std::mutex> lock(lock_);
    discarded_.push_back(std::move(canvas));
  }
  // Frees them now; only while no job runs.
  void freeDiscarded() {
    std::vector<std::unique_ptr<Canvas>> canvases;
    {
      std::lock_guard<std::mutex> lock(lock_);
      canvases.swap(discarded_);
    }
  }

 private:
  template <typename Work>
  void guarded(Work&& work) {
    try {
      work(*device_);
    } catch (const Error& error) {
      if (error.code == "WBSR_DEVICE_FAILED") fail(error.what());
      throw;
    }
  }

  void fail(const std::string& message) {
    std::lock_guard<std::mutex> lock(lock_);
    if (failure_.empty()) failure_ = message;
  }

  std::unique_ptr<Device> device_;
  mutable std::mutex lock_;
  std::string failure_;
  std::vector<std::unique_ptr<Canvas>> discarded_;  // after device_: gone before it
};

// A canvas and the device that it needs to live.
struct HeldCanvas {
  std::shared_ptr<EngineCore> core;
  std::unique_ptr<Canvas> canvas;
  int64_t width = 0, rows = 0;
  ~HeldCanvas() {
    if (canvas) core->discard(std::move(canvas));
  }
};

}  // namespace wbsr::bindings

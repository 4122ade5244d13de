// The native part of class Engine: graph and device, and their invariants. Jobs share it, so that dispose() never frees
// memory that a running job uses. No JavaScript in here.
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
  // make(graph) -> the device; the graph is not moved afterwards.
  template <typename Make>
  EngineCore(Graph made, Make&& make) : graph(std::move(made)), device_(make(static_cast<const Graph&>(graph))) {}

  const Graph graph;

  // For facts() and memory(); not while a job runs.
  const Device& device() const { return *device_; }

  // Runs work(device): on the engine's thread, or on any thread while no job runs. After a device failure every call
  // throws WBSR_DEVICE_FAILED with the first failure's message.
  template <typename Work>
  void run(Work&& work) {
    freeDiscarded();
    check();
    guarded(work);
  }
  // The second part of a job (Device::wait and others), concurrent with run() on another thread. Also called after a
  // failure: the device throws then, but frees the slot that a first part may be waiting for.
  template <typename Work>
  void wait(Work&& work) {
    guarded(work);
  }

  // Throws if the device has failed.
  void check() const {
    std::lock_guard<std::mutex> lock(lock_);
    if (!failure_.empty())
      throw Error("WBSR_DEVICE_FAILED",
                  "The device failed and this model cannot be used any more. It failed with: " + failure_);
  }

  // Frees the canvas with the next job, on its thread, since a job may be running now. Any thread.
  void discard(std::unique_ptr<Canvas> canvas) {
    std::lock_guard<std::mutex> lock(lock_);
    discarded_.push_back(std::move(canvas));
  }
  // Frees discarded canvases now; only while no job runs.
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

// A canvas, and the device that must outlive it.
struct HeldCanvas {
  std::shared_ptr<EngineCore> core;
  std::unique_ptr<Canvas> canvas;
  int64_t width = 0, rows = 0;
  ~HeldCanvas() {
    if (canvas) core->discard(std::move(canvas));
  }
};

}  // namespace wbsr::bindings

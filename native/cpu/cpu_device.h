// The CPU device's class, for the files that implement it: device.cc (parameters, executables), device_infer.cc,
// device_train.cc. Other files include device.h.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "core/clock.h"
#include "cpu/adam.h"
#include "cpu/buffer.h"
#include "cpu/device.h"
#include "cpu/executable_cache.h"
#include "cpu/region_runner.h"

namespace wbsr::cpu {

class CpuDevice : public Device {
 public:
  CpuDevice(const Graph& graph, int threads, const std::atomic<bool>* closing, Precision precision);

  DeviceFacts facts() const override;
  void initialise(uint64_t seed) override;
  void setArena(Arena which, const float* values) override;
  void getArena(Arena which, float* values) override;
  std::vector<int32_t> steps() const override { return adam_.counts; }
  void setSteps(const std::vector<int32_t>& steps) override;
  void forward(int subnet, const float* input, float* output, int batch, int height, int width) override;
  void route(const RouteJob& job) override;
  std::unique_ptr<Canvas> makeCanvas(int64_t width, int64_t rows) override;
  InferReport infer(const InferJob& job) override;
  int64_t gradients(const GradientJob& job) override;
  TrainReport waitGradients(int64_t ticket) override;
  int64_t apply(const UpdateJob& job) override;
  UpdateReport waitApply(int64_t ticket) override;
  int64_t memory() const override;

 private:
  std::vector<float>& arena(Arena which);
  void makeRunners(size_t count);
  void runApart(const std::vector<const Region*>& regions, const std::vector<Source>& sources,
                const volatile int32_t* cancel);
  TrainReport computeGradients(const GradientJob& job);
  UpdateReport update(const UpdateJob& job);
  bool gradientIsFinite() const;

  const Graph& graph_;
  int threads_;
  Context context_;  // of what all threads run together
  ExecutableCache executables_;
  RegionRunner team_;
  std::vector<std::unique_ptr<ThreadRunner>> runners_;  // of regions or images that run side by side
  std::vector<RegionResult> results_;                   // of regions that are not blended yet
  Adam adam_;
  std::vector<float> weights_, ema_, m_, v_, gradient_;
  // After a loss or a gradient that was not finite the weights stay as they are until others are set.
  bool halted_ = false;
  bool gradientChecked_ = true;  // false: gradient_ was set from outside, or halted_ was reset
  // Kept between jobs, because page faults of new memory would cost more than the work on it.
  Buffer converted_;  // float RGB of the pictures that are of another type
  Buffer lr_, hr_;    // a batch made from crops
  // Not yet waited for, which may happen on another thread.
  std::mutex reportsLock_;
  std::map<int64_t, TrainReport> gradientReports_;
  std::map<int64_t, UpdateReport> updateReports_;
  int64_t tickets_ = 0;
};

}  // namespace wbsr::cpu

// Training, two steps in flight: the batch of the next one is uploaded and assembled on a stream of its own while the
// current one runs, and the loss is read back one step late. Gradients and updates of steps take turns on the compute
// stream; each half has two slots of its own.
#pragma once
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "core/adam_steps.h"
#include "cuda/batch.h"
#include "cuda/state.h"
#include "cuda/turns.h"

namespace wbsr::cuda {

class Training {
 public:
  explicit Training(State& state);
  ~Training();

  // As in core/device.h.
  int64_t gradients(const GradientJob& job);
  TrainReport waitGradients(int64_t ticket);
  int64_t apply(const UpdateJob& job);
  UpdateReport waitApply(int64_t ticket);
  std::vector<int32_t> counts();
  void setCounts(const std::vector<int32_t>& counts);
  // Weights were set from outside: clears the flag of an earlier value that was not finite.
  void reset();
  // The gradient buffer was set from outside.
  void gradientChanged() { gradientChecked_ = false; }
  int64_t bytes() const;

 private:
  // The buffers of a gradient computation in flight.
  struct Slot {
    PinnedBuffer pixels;    // the uploaded batch: float planes, or crop descriptions and their windows
    PinnedBuffer settings;  // loss parameters
    PinnedBuffer results;   // loss sums of every part and subnet, then the stop flag
    DeviceBuffer uploaded, sums;
    DeviceBuffer hr, lr;     // (N, H, W, 8) float; lr with its copy in T behind it
    DeviceBuffer distilled;  // as hr, of a part: what all subnets but the first aim at
    Event ready, consumed, done;
    LossSpec loss;
    int subnets = 0, parts = 1;
    int64_t pixelsOfMean = 0;
    double started = 0;
  };
  // The buffers of an update in flight.
  struct UpdateSlot {
    PinnedBuffer settings;  // Adam's steps, touched widths
    PinnedBuffer result;    // the stop flag
    DeviceBuffer settingsOnDevice;
    Event done;
    std::vector<int32_t> countsBefore;
    double started = 0;
  };

  void uploadBatch(Slot& slot, const GradientJob& job);
  void runPasses(Slot& slot, const GradientJob& job, int parts);
  void submitGradients(Slot& slot, const GradientJob& job);
  void submitUpdate(UpdateSlot& slot, const UpdateJob& job);
  // Runs work() on the device; if memory is full, frees some and runs it again.
  void withMemory(const std::function<void()>& work);
  // Runs submitted() in a slot of `turns`.
  void inTurn(Turns& turns, int64_t ticket, const std::function<void()>& submitted);
  // Seconds of the device since the half before this one was done.
  double elapsed(double started);

  State& state_;
  Context& context_;
  Stream uploads_;
  Slot slots_[2];
  UpdateSlot updateSlots_[2];
  DeviceBuffer stop_;            // not 0: a loss or gradient was not finite, and nothing is updated any more
  bool gradientChecked_ = true;  // false: the gradient buffer was set from outside, or stop_ was cleared
  std::vector<int32_t> counts_, countsAtFailure_;
  int parts_ = 1;  // into which the last batch had to be cut
  double lastDone_ = 0;
  std::mutex mutex_;
  Turns turns_, updateTurns_;
};

}  // namespace wbsr::cuda

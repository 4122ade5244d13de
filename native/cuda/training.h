// Training steps, two in flight: the batch of the next one is uploaded and assembled on a stream of its own while the
// current one runs, and the loss is read back one step late.
#pragma once
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

  int64_t submit(const TrainJob& job);
  TrainReport wait(int64_t ticket);
  std::vector<int32_t> counts();
  void setCounts(const std::vector<int32_t>& counts);
  // Weights were set from outside: what was not finite before is forgotten.
  void reset();
  int64_t bytes() const;

 private:
  // What one step in flight owns.
  struct Slot {
    PinnedBuffer pixels;    // the batch as it is uploaded: float planes, or crop descriptions and their windows
    PinnedBuffer settings;  // loss parameters, Adam's steps, touched widths
    PinnedBuffer results;   // loss sums of every part and subnet, then the stop flag
    DeviceBuffer uploaded, sums, settingsOnDevice;
    DeviceBuffer hr, lr;  // (N, H, W, 8) float; lr with its copy in T behind it
    Event ready, consumed, done;
    LossSpec loss;
    int subnets = 0, parts = 1;
    int64_t pixelsOfMean = 0;
    std::vector<int32_t> countsBefore;
    double started = 0;
  };

  void uploadBatch(Slot& slot, const TrainJob& job);
  void runPasses(Slot& slot, const TrainJob& job, int parts);
  void update(Slot& slot, const TrainJob& job);

  State& state_;
  Context& context_;
  Stream uploads_;
  Slot slots_[2];
  DeviceBuffer stop_;  // not 0: a step was not finite, and nothing is updated any more
  std::vector<int32_t> counts_, countsAtFailure_;
  int parts_ = 1;  // into how many parts a batch had to be cut last time
  double lastDone_ = 0;
  std::mutex mutex_;
  Turns turns_;
};

}  // namespace wbsr::cuda

// The CUDA device's state, shared with its canvases and jobs: the context, compiled programs, and the device's first
// failure.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "core/cancel.h"
#include "core/device.h"
#include "cuda/canvas.h"
#include "cuda/program/executable.h"
#include "cuda/transfer.h"
#include "cuda/turns.h"

namespace wbsr::cuda {

// Regions of the next batch where `wanted` are left and fit: powers of four, so that few batch sizes are compiled (cuDNN
// takes about a second for each convolution of a new one), and at most what a grid can have.
int batchSize(int64_t wanted);

// Bytes of a view's pixels.
size_t bytesOf(const View& view);

class State : public std::enable_shared_from_this<State> {
 public:
  State(const wbsr::Graph& graph, const DeviceOptions& options);
  ~State();

  // Runs `work` with the device current on this thread. A CUDA or cuDNN failure makes the device unusable: this call
  // and all later ones throw WBSR_DEVICE_FAILED. Full memory and cancellation do not.
  void guard(const std::function<void()>& work);

  // subnet on `batch` inputs of height x width, of which the tail covers coveredHeight x coveredWidth. Compiled
  // programs are kept; the least recently used is dropped first.
  Executable& executable(int subnet, int batch, int height, int width, int coveredHeight, int coveredWidth,
                         bool training);
  // Drops compiled programs and frees their memory: called when an allocation has failed.
  void trim();

  std::unique_ptr<Canvas> makeCanvas(int64_t width, int64_t rows);
  InferReport infer(const InferJob& job);
  int64_t submitInfer(const InferJob& job, InferReport& report);
  void waitInfer(int64_t ticket, InferReport& report);
  void route(const RouteJob& job);
  void forward(int subnet, const float* input, float* output, int batch, int height, int width);
  bool cancelled(const volatile int32_t* cancel) const {
    return isSet(cancel) || (options.closing && *options.closing);
  }
  int64_t bytes() const;

  const wbsr::Graph& graph;
  const DeviceOptions options;

 private:
  // Before the members below, which make streams and events on the current device.
  const bool current_ = makeCurrent();
  bool makeCurrent() const;

 public:
  std::unique_ptr<Context> context;
  Uploads uploads;
  Transfer transfer;  // of forward passes and sums, on the context's stream
  Downloads downloads;

 private:
  struct Group;
  // One inference job under way. Its memory may be written again when its slot is free.
  struct Running {
    Event begun{true}, ended{true};
    DeviceBuffer pictures, tiles, crops;
  };
  // Enlarges a buffer of this class after the work that uses it, all of which is on `stream`.
  static void grow(DeviceBuffer& buffer, size_t bytes, const Stream& stream);
  std::vector<CudaCanvas*> canvasesOf(const InferJob& job) const;
  void runGroups(const InferJob& job, const std::vector<Group*>& groups, const Running& running,
                 const std::vector<const uint8_t*>& pictures, InferReport& report,
                 const std::vector<CudaCanvas*>& canvases);
  void uploadTiles(std::vector<Group*> groups, Running& running);
  std::vector<const uint8_t*> uploadPictures(const InferJob& job, Running& running);
  void runBatch(const InferJob& job, const Group& group, size_t first, int batch, const Running& running,
                const std::vector<const uint8_t*>& pictures, InferReport& report,
                const std::vector<CudaCanvas*>& canvases);

  // subnet, batch, height, width, covered height, covered width, training
  using Key = std::tuple<int, int, int, int, int, int, bool>;
  struct Cached {
    std::unique_ptr<Executable> executable;
    uint64_t used;
  };
  std::map<Key, Cached> cache_;
  uint64_t clock_ = 0;
  DeviceBuffer planar_;            // of the context's stream
  DeviceBuffer routed_, routing_;  // of the uploads' stream, which routes
  Running running_[2];
  Turns turns_;
  std::mutex failureMutex_;
  std::string failure_;
};

}  // namespace wbsr::cuda

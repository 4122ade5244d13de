// What a device offers to the bindings: parameters, forward passes, routing, inference over regions, training steps.
// A device owns its parameters and runs Programs. How a build gets its devices: core/device_kind.h.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/loss_spec.h"
#include "core/pixels.h"
#include "core/program.h"

namespace wbsr {

// Weighted sums of a band of SR rows, in the memory of the device that made it, where infer() blends into it.
class Canvas {
 public:
  virtual ~Canvas() = default;
  // Rows [from, from + kept) become rows [0, kept); rows [kept, rows) are cleared. `rows` is at most the capacity.
  virtual void move(int64_t from, int64_t kept, int64_t rows) = 0;
  // Rows [first, first + rows) as pixels: out (rows, width, channels) of `type`. alpha (rows, width) in [0, 1] with 2
  // or 4 channels, else null. The arithmetic is that of image::finishRows.
  virtual void finish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) = 0;
  // finish() in two parts, so that the next band can run while pixels travel: rows may change again after
  // submitFinish(), out is complete after waitFinish(), which may be called on another thread. Each ticket once, in order.
  virtual int64_t submitFinish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) {
    finish(first, rows, channels, alpha, type, out);
    return 0;
  }
  virtual void waitFinish(int64_t) {}
  virtual int64_t bytes() const = 0;
};

struct Picture {
  View pixels;               // on the host, any type and 1..4 channels
  Canvas* canvas = nullptr;  // made by the same device; row 0 is pixels' row 0 x scale. Null: the host arrays
  float* sum = nullptr;      // weighted sums, (height * scale, width * scale, 3)
  float* weight = nullptr;   // weights, (height * scale, width * scale)
};

// LR pixels of the picture. The network sees x, y, width, height; `keep` of its output is blended in.
struct Region {
  int picture, subnet;
  int x, y, width, height;
  int keepX, keepY, keepWidth, keepHeight;
  int rampLeft, rampTop, rampRight, rampBottom;
};

struct InferJob {
  std::vector<Picture> pictures;
  std::vector<Region> regions;
  int64_t maxBatchPixels = 0;
  const volatile int32_t* cancel = nullptr;
};

struct InferReport {
  double networkSeconds = 0;  // of the device
  double otherSeconds = 0;    // of the host beside it
  int batches = 0;
  double flops = 0;
  int halvings = 0;  // how often a batch was halved because the device's memory was full
};

// Tiles of tileSize x tileSize from the picture's top left on, the last of each row and column clipped.
struct RouteJob {
  View pixels;
  int tile = 0;
  std::vector<double> thresholds;  // K - 1 ascending
  std::vector<int32_t> map;        // (K): class - 1 -> subnet; empty: subnets are not wanted
  // Row by row, (rows x columns) with columns = ceil(width / tile).
  double* difficulties = nullptr;
  int32_t* classes = nullptr;  // 1 .. K
  int32_t* subnets = nullptr;  // null when the map is empty
};

// Crops of uint8 RGB images on the host, from which the device makes the batch (image::assembleBatch).
struct BatchSource {
  std::vector<View> images;
  std::vector<View> lrImages;  // empty: LR is made from HR; else crop positions are multiples of scale
  std::vector<Crop> crops;
};

struct TrainJob {
  // Either float planes ...
  const float* lr = nullptr;  // (N, 3, height, width)
  const float* hr = nullptr;  // (N, 3, height * scale, width * scale)
  // ... or crops (N of them, patch = width * scale = height * scale).
  std::shared_ptr<const BatchSource> source;
  int batch = 0, height = 0, width = 0;
  std::vector<int> subnets;
  LossSpec loss;
  float learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
  bool gradientsOnly = false;
  const volatile int32_t* cancel = nullptr;
};

struct TrainReport {
  bool finite = true;
  LossSums mean;               // over the step's subnets
  std::vector<double> losses;  // per subnet
  double seconds = 0;
  int parts = 1;  // in how many parts the batch was run because the device's memory was full
};

enum class Arena { Weights, Ema, M, V, Gradient };

// What a device says of itself.
struct DeviceFacts {
  std::string kind;  // DeviceKind::name
  std::string name;
  std::string details;      // versions and such
  std::string precision;    // of convolutions (core/precision.h)
  bool regular = false;     // prefers regions of few different shapes
  bool pipelined = false;   // submit() returns before the step is done
  int threads = 0;          // host threads that it computes with
  bool hostMemory = false;  // canvases lie in the host's memory
};

class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceFacts facts() const = 0;
  virtual void initialise(uint64_t seed) = 0;
  virtual void setArena(Arena which, const float* values) = 0;
  virtual void getArena(Arena which, float* values) = 0;
  // Adam's step counts, (parameters, widths): a weight slice that was not touched is not counted.
  virtual std::vector<int32_t> steps() const = 0;
  virtual void setSteps(const std::vector<int32_t>& steps) = 0;
  // input (N, 3, height, width) -> output (N, 3, height * scale, width * scale)
  virtual void forward(int subnet, const float* input, float* output, int batch, int height, int width) = 0;
  virtual void route(const RouteJob& job) = 0;
  virtual std::unique_ptr<Canvas> makeCanvas(int64_t width, int64_t rows) = 0;  // SR pixels
  virtual InferReport infer(const InferJob& job) = 0;
  // infer() in two parts, so that the next job's pixels travel while this one's network runs: job's arrays are read
  // until submitInfer() returns, which fills the report but for networkSeconds. waitInfer() may be called on another
  // thread, for each ticket once and in order. Where a picture has no canvas, all is done in the first part.
  virtual int64_t submitInfer(const InferJob& job, InferReport& report) {
    report = infer(job);
    return -1;
  }
  virtual void waitInfer(int64_t, InferReport&) {}
  // One training step is submitted and waited for, each ticket once and in order. A pipelined device takes the next
  // step while it works on this one; job's arrays are read until submit() returns. After a step that was not finite
  // nothing is updated any more until weights are set again. wait() may be called on another thread than submit().
  virtual int64_t submit(const TrainJob& job) = 0;
  virtual TrainReport wait(int64_t ticket) = 0;
  TrainReport train(const TrainJob& job) { return wait(submit(job)); }
  virtual int64_t memory() const = 0;
};

// Where training starts, as the operators tell (Parameter::random): values (parameterCount), the same for every device.
void initialWeights(const Graph& graph, uint64_t seed, float* values);

}  // namespace wbsr

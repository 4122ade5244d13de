// What a device offers to the bindings: parameters, forward passes, routing, inference over regions, training steps.
// A device owns its parameters and runs Programs. How a build gets its devices: core/device_kind.h.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/adam_steps.h"
#include "core/gradient_exchange.h"
#include "core/graph.h"
#include "core/loss_spec.h"
#include "core/pixels.h"
#include "core/program.h"

namespace wbsr {

// Weighted sums of a band of SR rows, in the memory of the device that made it. infer() blends into it.
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
  Origin origin = {};
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
  Origin origin = {};
  int tile = 0;
  std::vector<double> thresholds;  // K - 1 ascending
  // Row by row, (rows x columns) with columns = ceil(width / tile).
  double* difficulties = nullptr;
  int32_t* classes = nullptr;  // 1 .. K
};

// Crops of uint8 RGB images on the host. The device assembles the batch from them (image::assembleBatch).
struct BatchSource {
  std::vector<View> images;
  std::vector<View> lrImages;  // empty: LR is made from HR; else crop positions are multiples of scale
  std::vector<Crop> crops;
};

// The batch, loss and subnets of one gradient computation.
struct GradientJob {
  // Either float planes ...
  const float* lr = nullptr;  // (N, 3, height, width)
  const float* hr = nullptr;  // (N, 3, height * scale, width * scale)
  // ... or crops (N of them, patch = width * scale = height * scale).
  std::shared_ptr<const BatchSource> source;
  int batch = 0, height = 0, width = 0;
  std::vector<int> subnets;
  LossSpec loss;
  // 0 .. 1: share of the first subnet's output in what the others aim at (core/math/distill.h).
  double distillation = 0;
  const volatile int32_t* cancel = nullptr;
};

// One optimizer step.
struct UpdateJob {
  // Weights that one of these uses are updated; the others keep weight, moments, average and step count.
  std::vector<int> subnets;
  AdamSettings settings;
};

// Both.
struct TrainJob : GradientJob, AdamSettings {};

struct TrainReport {
  bool finite = true;
  LossSums mean;               // over the step's subnets
  std::vector<double> losses;  // per subnet
  double seconds = 0;
  int parts = 1;  // in how many parts the batch was run because the device's memory was full
};

struct UpdateReport {
  bool finite = true;  // false: nothing was updated
  double seconds = 0;
};

// Tickets of the two halves of a training step.
struct StepTicket {
  int64_t gradients = 0, update = 0;
};

enum class Arena { Weights, Ema, M, V, Gradient };

// Properties of a device.
struct DeviceFacts {
  std::string kind;  // DeviceKind::name
  std::string name;
  std::string details;      // versions, instruction set
  std::string precision;    // of convolutions (core/precision.h)
  bool regular = false;     // faster with regions of few different shapes
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
  // A training step in two halves with one flat gradient buffer between them (Arena::Gradient, laid out as the weights),
  // where the gradients of several machines can be averaged: getArena, reduce, setArena.
  //
  // gradients() overwrites the buffer with the gradient of the mean loss, summed over the job's subnets; apply() makes
  // one optimizer step with the buffer as it is. Each returns a ticket for its wait function, which is called once per
  // ticket, in the order of the calls, on any thread, also after a failure. A pipelined device returns before the work is
  // done and takes the next step meanwhile; job's arrays are read until the call returns. After a loss or a gradient that
  // is not finite nothing is updated until weights are set again.
  virtual int64_t gradients(const GradientJob& job) = 0;
  virtual TrainReport waitGradients(int64_t ticket) = 0;
  virtual int64_t apply(const UpdateJob& job) = 0;
  virtual UpdateReport waitApply(int64_t ticket) = 0;
  // Both halves with nothing between them.
  StepTicket submit(const TrainJob& job);
  TrainReport wait(const StepTicket& ticket);
  TrainReport train(const TrainJob& job) { return wait(submit(job)); }
  // Gradients of ranks that meet in the devices' own memory; null: they travel through the host's, by getArena and setArena.
  virtual GradientExchange* exchange() { return nullptr; }
  virtual int64_t memory() const = 0;
};

// Initial weights, as the operators declare them (Parameter::random): values (parameterCount), equal on every device.
void initialWeights(const Graph& graph, uint64_t seed, float* values);

}  // namespace wbsr

// What a device offers to the bindings: parameters, forward passes, inference over regions, training steps.
// Implemented by native/cpu (always there); a device owns its parameters and runs Programs.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/graph.h"
#include "core/loss_spec.h"
#include "core/program.h"

namespace wbsr {

struct Picture {
  const float* data;  // RGB in [0, 1], (height, width, 3)
  int width, height;
  float* sum;         // weighted sums, (height * scale, width * scale, 3)
  float* weight;      // weights, (height * scale, width * scale)
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
  double networkSeconds = 0, otherSeconds = 0;
  int batches = 0;
  double flops = 0;
};

struct TrainJob {
  const float* lr;  // (N, 3, height, width)
  const float* hr;  // (N, 3, height * scale, width * scale)
  int batch, height, width;
  std::vector<int> subnets;
  LossSpec loss;
  float learningRate, beta1, beta2, epsilon, weightDecay, emaDecay;
  bool gradientsOnly = false;
  const volatile int32_t* cancel = nullptr;
};

struct TrainReport {
  bool finite = true;
  LossSums mean;                // over the step's subnets
  std::vector<double> losses;   // per subnet
  double seconds = 0;
};

enum class Arena { Weights, Ema, M, V, Gradient };

class Device {
 public:
  virtual ~Device() = default;
  virtual void initialise(uint64_t seed) = 0;
  virtual void setArena(Arena which, const float* values) = 0;
  virtual void getArena(Arena which, float* values) = 0;
  // Adam's step counts, (parameters, widths): a weight slice that was not touched is not counted.
  virtual std::vector<int32_t> steps() const = 0;
  virtual void setSteps(const std::vector<int32_t>& steps) = 0;
  // input (N, 3, height, width) -> output (N, 3, height * scale, width * scale)
  virtual void forward(int subnet, const float* input, float* output, int batch, int height, int width) = 0;
  virtual InferReport infer(const InferJob& job) = 0;
  virtual TrainReport train(const TrainJob& job) = 0;
  virtual int64_t memory() const = 0;
};

}  // namespace wbsr

// Convolutions by cuDNN's graph API. A ConvPlan is one convolution with its fused end, built once for a shape and run
// many times. If no engine supports the fusion, the plan runs a plain convolution and our epilogue kernel, with the
// same result. Zero padding, channels last (layout.h).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/node.h"
#include "core/precision.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

enum class Type { Float, Bf16 };

struct ConvSpec {
  enum Mode { Forward, BackwardData, BackwardWeights } mode = Forward;
  int batch = 0, height = 0, width = 0;  // of the forward convolution's input
  int inChannels = 0, outChannels = 0;   // padded, of the forward convolution
  int kernel = 3;
  int stride = 1;
  int padding = -1;  // on each side; -1: kernel / 2
  Precision precision = Precision::Bf16;
  // Operand types. Forward: x, w -> y. BackwardData: y = dy, w -> x = dx. BackwardWeights: x, y = dy -> dw, as its plan writes it.
  // x and w are of the precision's type (dx may be Float); y of Forward may be Float.
  Type x = Type::Bf16, y = Type::Bf16;
  // Forward: y = activation(conv + bias) + residual. BackwardData: dx = (conv^T(dy) + residual) * activation'(gate),
  // residual and gate like dx.
  bool bias = false, residual = false, gate = false;
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;
  // Forward: a leaky relu with a slope for each channel.
  bool slopes = false;
  // Forward: y = (t + residual) * (activation(t) + shift), t = conv + bias.
  bool product = false;
  float shift = 0.f;
  // Forward: the plan also leaves sums of y over parts of each image's pixels. No activation and no residual then.
  bool sums = false;
  // Forward: the output channels are factor^2 sub-pixel planes, and y is (N, outHeight factor, outWidth factor,
  // outChannels / factor^2). No residual and no slopes then.
  int factor = 1;
  bool operator==(const ConvSpec&) const = default;
  int pad() const { return padding < 0 ? kernel / 2 : padding; }
  int outHeight() const { return (height + 2 * pad() - kernel) / stride + 1; }
  int outWidth() const { return (width + 2 * pad() - kernel) / stride + 1; }
  int64_t inPixels() const { return int64_t{batch} * height * width; }
  int64_t outPixels() const { return int64_t{batch} * outHeight() * outWidth(); }
  std::string text() const;  // for messages: "forward 3x3 64->64 on 16x32x32, bf16, bias, relu"
};

class ConvHandle;  // plan.h

struct ConvArguments {
  const void* x = nullptr;      // (N, H, W, inChannels); BackwardData: the output
  const void* w = nullptr;      // (outChannels, k, k, inChannels) of the precision's type; BackwardWeights: the output
  const void* y = nullptr;      // (N, outHeight, outWidth, outChannels), or ConvSpec::factor's; Forward: the output
  const float* bias = nullptr;  // (outChannels)
  const float* slopes = nullptr;   // (outChannels)
  const void* residual = nullptr;  // like y, never y itself; BackwardData: like x
  const void* gate = nullptr;      // BackwardData: like x
  float* sums = nullptr;           // (N, ConvPlan::sumChunks(), outChannels)
  // The handle that the plan runs with; null: its own, which all users of the cache share.
  const ConvHandle* handle = nullptr;
};

class ConvPlan {
 public:
  virtual ~ConvPlan() = default;
  virtual size_t workspace() const = 0;  // bytes of device memory that run() needs
  // The type that run() writes: the spec's, but dw is float or bf16 depending on the engine. The kernel that adds it to
  // the master gradients reads either type, which saves a conversion.
  virtual Type written() const = 0;
  // The number of sums that ConvSpec::sums leaves for each image. It depends on the image's size alone.
  virtual int sumChunks() const = 0;
  // Asynchronous; may be captured.
  virtual void run(const ConvArguments& arguments, void* workspace, cudaStream_t stream) const = 0;
  virtual std::string describe() const = 0;  // engine, fused or not, notes
};

// Plans by shape, bounded (least recently used go first). For one device; thread-safe.
class ConvPlans {
 public:
  virtual ~ConvPlans() = default;
  // Builds the plan if it is not in the cache. Only engines that give the same bits in every run are used. Throws
  // WBSR_DEVICE_FAILED with the convolution and cuDNN's message; WBSR_OUT_OF_MEMORY, after which a smaller batch may
  // fit.
  virtual std::shared_ptr<const ConvPlan> get(const ConvSpec& spec) = 0;
  // The same for several at once, built by several threads: specs -> plans in the cache.
  virtual void prepare(const std::vector<ConvSpec>& specs) = 0;
  // A new handle for a caller's runs (ConvArguments::handle), on the same device.
  virtual std::shared_ptr<const ConvHandle> makeHandle() const = 0;
  virtual std::string version() const = 0;  // "cuDNN 9.24.0"
};

// Opens libcudnn.so.9: WBSR_CUDNN_PATH (a file or a folder), the loader's path, the wheel of a Python installation.
// Empty if it can be used; else what was tried, for the message of WBSR_NO_DEVICE.
std::string openCudnn();

// autotune: times up to that many of the heuristics' engines on the device, of the graph with the fused end as of the
// plain convolution, and takes the fastest; 0: their first of the first graph that has one, without timing.
std::unique_ptr<ConvPlans> makeConvPlans(int device, int autotune, size_t capacity = 1024);

// The cache that all models of the process on that device share as long as one exists, so that a second model compiles
// nothing again.
std::shared_ptr<ConvPlans> sharedConvPlans(int device, int autotune);
// The next model gets a new cache. Called when the plans' device has failed.
void retireConvPlans(const std::shared_ptr<ConvPlans>& plans);

}  // namespace wbsr::cuda

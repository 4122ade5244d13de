#include "cuda/conv/plan.h"

#include "cuda/conv/kernels.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/formats.h"
#include "cuda/operators/kernels.h"

namespace wbsr::cuda {
namespace {

constexpr size_t kAlign = 256;

size_t sizeOf(Type type) { return type == Type::Bf16 ? sizeof(bf16) : sizeof(float); }

const char* nameOf(Type type) { return type == Type::Bf16 ? "bf16" : "float"; }

// Calls f with pointers to the type's elements as the argument's type.
template <typename F>
void withType(Type type, F&& f) {
  if (type == Type::Bf16)
    f(static_cast<bf16*>(nullptr));
  else
    f(static_cast<float*>(nullptr));
}

// cuDNN rarely reports full memory as such: creating a handle or loading a kernel fails with a general error.
bool isFullMemory(const cudnn::Failure& failure) {
  if (failure.status == cudnn::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) return true;
  const int kind = failure.status / 1000;  // 4: internal error, 5: execution failed
  if (failure.status != cudnn::CUDNN_STATUS_NOT_INITIALIZED && kind != 4 && kind != 5) return false;
  constexpr size_t kFull = size_t{256} << 20;
  size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess && free < kFull;
}

bool isCapturing(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(stream, &status) != cudaSuccess || status != cudaStreamCaptureStatusNone;
}

class Plan : public ConvPlan {
 public:
  Plan(const ConvSpec& spec, const ConvVariant& variant, const ConvGraph& graph, EnginePlan engine,
       std::shared_ptr<const ConvHandle> handle, std::shared_ptr<const ConvHandle> builder,
       std::function<void()> failed)
      : spec_(spec),
        variant_(variant),
        tensors_(graph.tensors),
        handle_(std::move(handle)),
        builder_(std::move(builder)),
        engine_(std::move(engine)),
        failed_(std::move(failed)) {
    engineBytes_ = (static_cast<size_t>(engine_.workspace) + kAlign - 1) / kAlign * kAlign;
  }

  size_t workspace() const override {
    return engineBytes_ + (beside() ? static_cast<size_t>(results()) * sizeOf(variant_.written) : 0);
  }

  void run(const ConvArguments& arguments, void* workspace, cudaStream_t stream) const override {
    void* raw = result(arguments);  // the graph's output
    if (beside()) raw = static_cast<unsigned char*>(workspace) + engineBytes_;
    try {
      for (int row = 0; row < (variant_.rows ? spec_.factor : 1); ++row)
        execute(arguments, raw, workspace, row, stream);
    } catch (const cudnn::Failure& failure) {
      // Within a capture the cause may be the capture, ended by another thread's call, rather than the plan.
      if (failed_ && !isFullMemory(failure) && !isCapturing(stream)) failed_();
      throwCudnnError(spec_.text() + " on CUDA device " + std::to_string(handle_->device()), failure);
    }
    if (toWeights()) return;
    if (spec_.factor > 1)
      finishPlanes(arguments, raw, stream);
    else if (!variant_.fused)
      finish(arguments, raw, stream);
    if (spec_.sums)
      withType(spec_.y, [&](auto* y) {
        channelSums(static_cast<decltype(y)>(result(arguments)), arguments.sums, spec_.batch,
                    spec_.outPixels() / spec_.batch, spec_.outChannels, stream);
      });
  }

  int sumChunks() const override { return channelSumChunks(spec_.outPixels() / spec_.batch); }

  Type written() const override { return toWeights() ? variant_.written : resultType(spec_); }

  std::string describe() const override {
    std::string text = engine_.name;
    if (variant_.fused)
      text += ", fused";
    else if (hasEpilogue())  // a gate has an activation
      text += ", not fused";
    if (variant_.written != resultType(spec_)) text += std::string(", written as ") + nameOf(variant_.written);
    if (variant_.rows) text += ", by rows of sub-pixels";
    if (spec_.factor > 1 && !variant_.rows) text += ", shuffled";
    if (beside() && spec_.factor == 1) text += " and converted";
    return text + ", workspace " + std::to_string(workspace()) + " bytes";
  }

 private:
  bool hasEpilogue() const { return spec_.bias || spec_.residual || spec_.activation != ActivationKind::None; }
  Epilogue epilogue(const ConvArguments& a) const {
    return {spec_.bias ? a.bias : nullptr,     spec_.activation, spec_.slope,
            spec_.slopes ? a.slopes : nullptr, spec_.product,    spec_.shift};
  }

  bool toWeights() const { return spec_.mode == ConvSpec::BackwardWeights; }
  // The graph writes to the workspace instead of the result.
  bool beside() const {
    return !toWeights() && (variant_.written != resultType(spec_) || (spec_.factor > 1 && !variant_.rows));
  }

  int64_t results() const {
    if (spec_.mode == ConvSpec::Forward) return spec_.outPixels() * spec_.outChannels;
    if (spec_.mode == ConvSpec::BackwardData) return spec_.inPixels() * spec_.inChannels;
    return int64_t{spec_.outChannels} * spec_.kernel * spec_.kernel * spec_.inChannels;
  }

  void* result(const ConvArguments& a) const {
    return const_cast<void*>(spec_.mode == ConvSpec::Forward ? a.y : spec_.mode == ConvSpec::BackwardData ? a.x : a.w);
  }

  // Bytes by which `tensor` begins behind its argument in the graph of that row of sub-pixels.
  int64_t behind(int64_t tensor, int row) const {
    const int64_t channels = spec_.outChannels / spec_.factor, area = int64_t{spec_.kernel} * spec_.kernel;
    const auto bytes = [row](int64_t count, Type type) { return row * count * static_cast<int64_t>(sizeOf(type)); };
    if (tensor == kTensorY) return bytes(spec_.outWidth() * channels, variant_.written);
    if (tensor == kTensorW) return bytes(channels * area * spec_.inChannels, operandType(spec_.precision));
    return tensor == kTensorBias ? bytes(channels, Type::Float) : 0;
  }

  void* pointer(int64_t tensor, const ConvArguments& a, void* raw, int row) const {
    const int64_t written = spec_.mode == ConvSpec::Forward      ? kTensorY
                          : spec_.mode == ConvSpec::BackwardData ? kTensorX
                                                                 : kTensorW;
    const void* data = tensor == written         ? raw
                     : tensor == kTensorX        ? a.x
                     : tensor == kTensorW        ? a.w
                     : tensor == kTensorY        ? a.y
                     : tensor == kTensorBias     ? a.bias
                     : tensor == kTensorResidual ? a.residual
                                                 : a.gate;
    WBSR_CHECK(data != nullptr);
    return static_cast<unsigned char*>(const_cast<void*>(data)) + behind(tensor, row);
  }

  void execute(const ConvArguments& arguments, void* raw, void* workspace, int row, cudaStream_t stream) const {
    void* pointers[8];
    int64_t count = 0;
    for (const int64_t tensor : tensors_) pointers[count++] = pointer(tensor, arguments, raw, row);
    cudnn::Descriptor pack(cudnn::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.setIntegers(cudnn::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, tensors_);
    pack.set(cudnn::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, cudnn::CUDNN_TYPE_VOID_PTR, count, pointers);
    pack.set(cudnn::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, cudnn::CUDNN_TYPE_VOID_PTR, 1, &workspace);
    pack.finalize();
    const ConvHandle& handle = arguments.handle ? *arguments.handle : *handle_;
    const std::lock_guard lock(handle.turn());
    cudnn::check(cudnn::api().setStream(handle.raw(), stream), "cudnnSetStream");
    cudnn::check(cudnn::api().execute(handle.raw(), engine_.plan.raw(), pack.raw()), "cudnnBackendExecute");
  }

  // The planes in the workspace become y, which has their type.
  void finishPlanes(const ConvArguments& a, void* raw, cudaStream_t stream) const {
    if (variant_.rows) return;
    const ShuffleShape shape{spec_.batch,
                             spec_.outHeight(),
                             spec_.outWidth(),
                             spec_.factor,
                             spec_.outChannels / (spec_.factor * spec_.factor),
                             true,
                             false,
                             ActivationKind::None,
                             0.f};
    withType(spec_.y, [&](auto* y) {
      auto* const planes = static_cast<decltype(y)>(raw);
      if (!variant_.fused && hasEpilogue())
        convEpilogue(planes, epilogue(a), decltype(y){}, planes, spec_.outPixels(), spec_.outChannels, stream);
      pixelShuffle(shape, planes, static_cast<decltype(y)>(result(a)), stream);
    });
  }

  // The operations that a plain convolution leaves out. `raw` is the result itself or in the workspace.
  void finish(const ConvArguments& a, void* raw, cudaStream_t stream) const {
    withType(variant_.written, [&](auto* written) {
      withType(resultType(spec_), [&](auto* result) {
        finishAs(a, static_cast<decltype(written)>(raw), static_cast<decltype(result)>(this->result(a)), stream);
      });
    });
  }

  template <typename Raw, typename Result>
  void finishAs(const ConvArguments& a, Raw* raw, Result* result, cudaStream_t stream) const {
    const auto* residual = spec_.residual ? static_cast<const Result*>(a.residual) : nullptr;
    if (spec_.mode == ConvSpec::Forward) {
      if (hasEpilogue() || beside())
        convEpilogue(raw, epilogue(a), residual, result, spec_.outPixels(), spec_.outChannels, stream);
      return;
    }
    if (residual) {
      convEpilogue(raw, Epilogue{}, residual, result, spec_.inPixels(), spec_.inChannels, stream);
    } else if constexpr (!std::is_same_v<Raw, Result>) {
      if constexpr (std::is_same_v<Result, float>) cast(raw, result, results(), stream);
    }
    const Result* dy = result;  // in place
    if (spec_.gate)
      activationBackward(dy, static_cast<const Result*>(a.gate), result, results(), spec_.activation, spec_.slope,
                         stream);
  }

  ConvSpec spec_;
  ConvVariant variant_;
  std::vector<int64_t> tensors_;
  std::shared_ptr<const ConvHandle> handle_, builder_;
  EnginePlan engine_;  // destroyed before the handles
  std::function<void()> failed_;
  size_t engineBytes_ = 0;
};

}  // namespace

// Both wait for the device.
ConvHandle::ConvHandle(int device) : device_(device) {
  const std::lock_guard turn(captureTurn());
  const cudnn::Status status = cudnn::api().create(&raw_);
  if (status != cudnn::CUDNN_STATUS_SUCCESS)
    throwCudnnError(cudnn::version() + " on CUDA device " + std::to_string(device),
                    cudnn::failure(status, "cudnnCreate"));
}

ConvHandle::~ConvHandle() {
  const std::lock_guard turn(captureTurn());
  cudnn::api().destroy(raw_);
}

void throwCudnnError(const std::string& what, const cudnn::Failure& failure) {
  throw Error(isFullMemory(failure) ? "WBSR_OUT_OF_MEMORY" : "WBSR_DEVICE_FAILED", what + ": " + failure.message);
}

std::unique_ptr<ConvPlan> makeConvPlan(const ConvSpec& spec, const ConvVariant& variant, const ConvGraph& graph,
                                       EnginePlan engine, std::shared_ptr<const ConvHandle> handle,
                                       std::shared_ptr<const ConvHandle> builder, std::function<void()> failed) {
  return std::make_unique<Plan>(spec, variant, graph, std::move(engine), std::move(handle), std::move(builder),
                                std::move(failed));
}

}  // namespace wbsr::cuda

// The Device of the bindings. It forwards to State (inference) and Training.
#include "cuda/device.h"

#include "core/error.h"
#include "cuda/exchange/exchange.h"
#include "cuda/state.h"
#include "cuda/training.h"

namespace wbsr::cuda {
namespace {

class CudaDevice : public Device {
 public:
  CudaDevice(const wbsr::Graph& graph, const DeviceOptions& options, const FoundDevice& facts)
      : graph_(graph), state_(std::make_shared<State>(graph, options)) {
    state_->guard([&] { training_ = std::make_unique<Training>(*state_); });
    facts_ = {"cuda", facts.name, facts.details, nameOf(options.precision), true, true};
  }

  ~CudaDevice() override {
    // Canvases may keep the state alive; training ends here.
    cudaSetDevice(state_->options.index);
    exchange_.reset();
    training_.reset();
  }

  DeviceFacts facts() const override {
    DeviceFacts facts = facts_;
    if (const int programs = state_->context->programsWithoutGraph)
      facts.details += ", " + std::to_string(programs) + " programs without CUDA graph";
    return facts;
  }

  void initialise(uint64_t seed) override {
    std::vector<float> values(static_cast<size_t>(graph_.parameterCount()));
    initialWeights(graph_, seed, values.data());
    state_->guard([&] {
      state_->context->weights->initialise(values.data());
      training_->reset();
    });
    training_->setCounts(std::vector<int32_t>(graph_.parameters().size() * graph_.widths().size(), 0));
  }

  void setArena(Arena which, const float* values) override {
    state_->guard([&] {
      state_->context->weights->set(which, values);
      if (which == Arena::Weights) training_->reset();
      if (which == Arena::Gradient) training_->gradientChanged();
    });
  }

  void getArena(Arena which, float* values) override {
    state_->guard([&] { state_->context->weights->get(which, values); });
  }

  std::vector<int32_t> steps() const override { return training_->counts(); }
  void setSteps(const std::vector<int32_t>& steps) override { training_->setCounts(steps); }

  void forward(int subnet, const float* input, float* output, int batch, int height, int width) override {
    state_->forward(subnet, input, output, batch, height, width);
  }
  void route(const RouteJob& job) override { state_->route(job); }
  std::unique_ptr<Canvas> makeCanvas(int64_t width, int64_t rows) override { return state_->makeCanvas(width, rows); }
  InferReport infer(const InferJob& job) override { return state_->infer(job); }
  int64_t submitInfer(const InferJob& job, InferReport& report) override { return state_->submitInfer(job, report); }
  void waitInfer(int64_t ticket, InferReport& report) override { state_->waitInfer(ticket, report); }
  int64_t gradients(const GradientJob& job) override { return training_->gradients(job); }
  TrainReport waitGradients(int64_t ticket) override { return training_->waitGradients(ticket); }
  int64_t apply(const UpdateJob& job) override { return training_->apply(job); }
  UpdateReport waitApply(int64_t ticket) override { return training_->waitApply(ticket); }
  GradientExchange* exchange() override {
    if (!exchange_) exchange_ = std::make_unique<Exchange>(*state_, [this] { training_->gradientChanged(); });
    return exchange_.get();
  }
  int64_t memory() const override {
    return state_->bytes() + training_->bytes() + (exchange_ ? exchange_->bytes() : 0);
  }

 private:
  const wbsr::Graph& graph_;
  std::shared_ptr<State> state_;
  std::unique_ptr<Training> training_;
  std::unique_ptr<Exchange> exchange_;  // made when it is first asked for
  DeviceFacts facts_;
};

}  // namespace

std::unique_ptr<Device> makeDevice(const wbsr::Graph& graph, const DeviceOptions& options) {
  const FoundDevices found = findDevices();
  if (found.devices.empty()) throw Error("WBSR_NO_DEVICE", found.reason);
  for (const FoundDevice& facts : found.devices)
    if (facts.index == options.index) return std::make_unique<CudaDevice>(graph, options, facts);
  throw Error("WBSR_NO_DEVICE", "There is no usable CUDA device " + std::to_string(options.index) + "; there are " +
                                    std::to_string(found.devices.size()));
}

}  // namespace wbsr::cuda

// GradientExchange of the CUDA device: gradients are summed by our own kernels in the order that they are told, and NCCL only
// carries them. (ncclAllReduce sums in an order of its own, which depends on the number of ranks.)
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "core/gradient_exchange.h"
#include "cuda/exchange/nccl_api.h"
#include "cuda/state.h"

namespace wbsr::cuda {

class Exchange : public GradientExchange {
 public:
  // written(): the gradient buffer was set by use().
  Exchange(State& state, std::function<void()> written) : state_(state), written_(std::move(written)) {}
  ~Exchange() override { disconnect(); }

  std::vector<char> makeId() override;
  void connect(const std::vector<char>& id, int rank, int ranks, const volatile int32_t* cancel) override;
  void hold(int held) override;
  void add(int into, int other) override;
  void use(int held, float factor) override;
  void send(int held, int to, const volatile int32_t* cancel) override;
  void receive(int held, int from, const volatile int32_t* cancel) override;
  int64_t bytes() const;

 private:
  // What is on its way is lost.
  void disconnect();
  float* at(int held);
  int64_t count() const { return state_.context->weights->count(); }
  // Makes a call of NCCL and waits until all work that it queued is done.
  void transfer(const char* name, const volatile int32_t* cancel, const std::function<int()>& call);
  // Waits while the communicator is busy with the last call, which returned `result`.
  void settle(const char* name, int result, const volatile int32_t* cancel);
  [[noreturn]] void giveUp(const char* code, const std::string& message);

  State& state_;
  const std::function<void()> written_;
  std::vector<std::unique_ptr<DeviceBuffer>> held_;
  nccl::Comm comm_ = nullptr;
};

}  // namespace wbsr::cuda

#include "cuda/exchange/exchange.h"

#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.h"
#include "cuda/exchange/sums.h"

namespace wbsr::cuda {
namespace {

void rest() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

std::string describe(const char* name, int result) {
  const nccl::Api& api = nccl::api();
  std::string text = std::string(name) + ": " + api.getErrorString(result);
  if (const char* last = api.getLastError(nullptr); last && *last) text += std::string(" (") + last + ")";
  return text;
}

void requireNccl() {
  const std::string why = nccl::open();
  if (!why.empty())
    throw Error("WBSR_NO_DEVICE",
                "NCCL was not found: " + why +
                    " (Debian: apt-get install libnccl2 from NVIDIA's repository; Python: pip install "
                    "nvidia-nccl-cu13; or WBSR_NCCL_PATH)");
}

}  // namespace

void Exchange::giveUp(const char* code, const std::string& message) {
  disconnect();
  throw Error(code, message);
}

void Exchange::settle(const char* name, int result, const volatile int32_t* cancel) {
  while (result == nccl::kInProgress) {
    if (state_.cancelled(cancel)) giveUp("WBSR_ABORTED", "waiting for another rank was cancelled");
    rest();
    if (nccl::api().commGetAsyncError(comm_, &result) != nccl::kSuccess) result = nccl::kInternalError;
  }
  if (result != nccl::kSuccess)
    giveUp("WBSR_RANK_FAILED", "The connection to another rank failed: " + describe(name, result));
}

std::vector<char> Exchange::makeId() {
  requireNccl();
  nccl::UniqueId id{};
  state_.guard([&] {
    if (const int result = nccl::api().getUniqueId(&id); result != nccl::kSuccess)
      throw Error("WBSR_NO_DEVICE", "NCCL cannot be used: " + describe("ncclGetUniqueId", result));
  });
  return {id.bytes, id.bytes + sizeof id.bytes};
}

void Exchange::connect(const std::vector<char>& id, int rank, int ranks, const volatile int32_t* cancel) {
  requireNccl();
  nccl::UniqueId unique{};
  WBSR_CHECK(id.size() == sizeof unique.bytes && !comm_);
  std::memcpy(unique.bytes, id.data(), id.size());
  state_.guard([&] {
    nccl::Config config;
    const int result = nccl::api().commInitRankConfig(&comm_, ranks, unique, rank, &config);
    try {
      settle("ncclCommInitRankConfig", result, cancel);
    } catch (const Error& error) {
      if (error.code == "WBSR_ABORTED") throw;
      throw Error("WBSR_NO_DEVICE", "NCCL cannot connect rank " + std::to_string(rank) + " of " +
                                        std::to_string(ranks) + ", on CUDA device " +
                                        std::to_string(state_.options.index) + ": " + error.what());
    }
  });
}

// ncclCommAbort also where all is well: ncclCommDestroy waits for the other ranks, of which one may be gone.
void Exchange::disconnect() {
  if (!comm_) return;
  nccl::api().commAbort(comm_);
  comm_ = nullptr;
}

float* Exchange::at(int held) {
  WBSR_CHECK(held >= 0 && held < kMostHeld);
  if (held_.size() <= static_cast<size_t>(held)) held_.resize(static_cast<size_t>(held) + 1);
  std::unique_ptr<DeviceBuffer>& buffer = held_[static_cast<size_t>(held)];
  if (!buffer) {
    auto made = std::make_unique<DeviceBuffer>();
    const size_t bytes = sizeof(float) * static_cast<size_t>(count());
    try {
      made->reserve(bytes);
    } catch (const Error& error) {
      if (error.code != "WBSR_OUT_OF_MEMORY") throw;
      state_.trim();
      made->reserve(bytes);
    }
    buffer = std::move(made);
  }
  return buffer->as<float>();
}

void Exchange::hold(int held) {
  state_.guard([&] {
    Context& context = *state_.context;
    context.weights->prepareTraining();
    WBSR_CUDA(cudaMemcpyAsync(at(held), context.weights->gradient(), sizeof(float) * static_cast<size_t>(count()),
                              cudaMemcpyDeviceToDevice, context.stream));
  });
}

void Exchange::add(int into, int other) {
  state_.guard([&] { addFloats(at(into), at(other), count(), state_.context->stream); });
}

void Exchange::use(int held, float factor) {
  state_.guard([&] {
    Context& context = *state_.context;
    context.weights->prepareTraining();
    scaleFloats(at(held), factor, context.weights->gradient(), count(), context.stream);
    written_();
  });
}

void Exchange::transfer(const char* name, const volatile int32_t* cancel, const std::function<int()>& call) {
  state_.guard([&] {
    if (!comm_) throw Error("WBSR_RANK_FAILED", "There is no connection to the other ranks any more");
    settle(name, call(), cancel);
    // It is queued now. The kernel that waits for the other rank ends with the communicator.
    for (;;) {
      const cudaError_t status = cudaStreamQuery(state_.context->stream);
      if (status == cudaSuccess) return;
      if (status != cudaErrorNotReady) WBSR_CUDA(status);
      cudaGetLastError();  // or the check of a later launch reports that it was not ready
      int result = nccl::kSuccess;
      if (nccl::api().commGetAsyncError(comm_, &result) != nccl::kSuccess) result = nccl::kInternalError;
      settle(name, result, cancel);
      if (state_.cancelled(cancel)) giveUp("WBSR_ABORTED", "waiting for another rank was cancelled");
      rest();
    }
  });
}

void Exchange::send(int held, int to, const volatile int32_t* cancel) {
  transfer("ncclSend", cancel, [&] {
    return nccl::api().send(at(held), static_cast<size_t>(count()), nccl::kFloat32, to, comm_, state_.context->stream);
  });
}

void Exchange::receive(int held, int from, const volatile int32_t* cancel) {
  transfer("ncclRecv", cancel, [&] {
    return nccl::api().recv(at(held), static_cast<size_t>(count()), nccl::kFloat32, from, comm_,
                            state_.context->stream);
  });
}

int64_t Exchange::bytes() const {
  size_t sum = 0;
  for (const auto& buffer : held_)
    if (buffer) sum += buffer->bytes();
  return static_cast<int64_t>(sum);
}

}  // namespace wbsr::cuda

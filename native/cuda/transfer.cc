#include "cuda/transfer.h"

#include <algorithm>
#include <cstring>

namespace wbsr::cuda {

void Transfer::upload(void* device, const void* host, size_t bytes, cudaStream_t stream) {
  for (size_t at = 0; at < bytes;) {
    const size_t size = std::min(kMost, bytes - at);
    Half& half = halves_[next_];
    next_ = 1 - next_;
    half.done.synchronise();  // its last copy
    half.memory.reserve(size);
    std::memcpy(half.memory.as(), static_cast<const char*>(host) + at, size);
    WBSR_CUDA(cudaMemcpyAsync(static_cast<char*>(device) + at, half.memory.as(), size, cudaMemcpyHostToDevice, stream));
    half.done.record(stream);
    at += size;
  }
}

void Transfer::download(void* host, const void* device, size_t bytes, cudaStream_t stream) {
  struct Pending {
    Half* half = nullptr;
    size_t at = 0, size = 0;
  } pending;
  const auto empty = [&] {
    if (!pending.half) return;
    pending.half->done.synchronise();
    std::memcpy(static_cast<char*>(host) + pending.at, pending.half->memory.as(), pending.size);
    pending.half = nullptr;
  };
  for (size_t at = 0; at < bytes;) {
    const size_t size = std::min(kMost, bytes - at);
    Half& half = halves_[next_];
    next_ = 1 - next_;
    half.done.synchronise();
    half.memory.reserve(size);
    WBSR_CUDA(
        cudaMemcpyAsync(half.memory.as(), static_cast<const char*>(device) + at, size, cudaMemcpyDeviceToHost, stream));
    half.done.record(stream);
    empty();
    pending = {&half, at, size};
    at += size;
  }
  empty();
}

}  // namespace wbsr::cuda

// Device and pinned memory of the CUDA on the host: from the heap, so that the sanitizers see its ends, its frees and its
// leaks. New memory is full of NaN.
#include <cstdlib>
#include <cstring>
#include <map>

#include "state.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace wbsr::host_cuda {

namespace {

struct Allocation {
  size_t bytes;
  int device;  // -1: pinned host memory
};

constexpr size_t kMemory = size_t{8} << 30;

struct Memory {
  // By the address with all bits turned, which LeakSanitizer does not take for a pointer: what only this table knows is
  // leaked. The order is downwards, so lower_bound finds the allocation that begins at or before an address.
  std::map<uintptr_t, Allocation> allocations;
  std::map<int, size_t> used;  // by device
  size_t limit = 0;
  int open = 0;
};
Memory& memory() {
  static Memory* const one = new Memory;
  return *one;
}

uintptr_t keyOf(const void* data) { return ~reinterpret_cast<uintptr_t>(data); }
void* addressOf(uintptr_t key) { return reinterpret_cast<void*>(~key); }

const std::pair<const uintptr_t, Allocation>* find(const void* data) {
  const auto& all = memory().allocations;
  const auto found = all.lower_bound(keyOf(data));
  if (found == all.end()) return nullptr;
  const size_t at = static_cast<size_t>(static_cast<const char*>(data) - static_cast<char*>(addressOf(found->first)));
  return at < found->second.bytes ? &*found : nullptr;
}

bool within(const void* data, size_t bytes, bool device) {
  const auto* found = find(data);
  if (!found || (found->second.device >= 0) != device) return false;
  const size_t at = static_cast<size_t>(static_cast<const char*>(data) - static_cast<char*>(addressOf(found->first)));
  return bytes <= found->second.bytes - at;
}

void poison([[maybe_unused]] void* data, [[maybe_unused]] size_t bytes, [[maybe_unused]] bool on) {
#ifdef __SANITIZE_ADDRESS__
  if (on)
    __asan_poison_memory_region(data, bytes);
  else
    __asan_unpoison_memory_region(data, bytes);
#endif
}

void poisonAll(bool on) {
#ifdef __SANITIZE_ADDRESS__
  for (const auto& [key, allocation] : memory().allocations)
    if (allocation.device >= 0) poison(addressOf(key), allocation.bytes, on);
#else
  static_cast<void>(on);
#endif
}

void* allocate(size_t bytes, int device) {
  void* data = nullptr;
  if (posix_memalign(&data, 256, bytes) != 0) return nullptr;
  std::memset(data, 0xff, bytes);
  if (device >= 0 && memory().open == 0) poison(data, bytes, true);
  memory().allocations[keyOf(data)] = {bytes, device};
  return data;
}

// False where it is none.
bool release(void* data, bool device) {
  Memory& m = memory();
  const auto found = m.allocations.find(keyOf(data));
  if (found == m.allocations.end() || (found->second.device >= 0) != device) return false;
  if (device) {
    m.used[found->second.device] -= found->second.bytes;
    poison(data, found->second.bytes, false);
  }
  m.allocations.erase(found);
  std::free(data);
  return true;
}

// The direction of a copy; checks that its pointers match.
bool validCopy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const bool toDevice = isDevice(to, bytes), fromDevice = isDevice(from, bytes);
  if (touchesDevice(to) != toDevice || touchesDevice(from) != fromDevice) return false;  // runs over the end
  switch (kind) {
    case cudaMemcpyHostToHost: return !toDevice && !fromDevice;
    case cudaMemcpyHostToDevice: return toDevice && !fromDevice;
    case cudaMemcpyDeviceToHost: return !toDevice && fromDevice;
    case cudaMemcpyDeviceToDevice: return toDevice && fromDevice;
    case cudaMemcpyDefault: return true;
  }
  return false;
}

struct Copy {
  void* to;
  const void* from;
  size_t toPitch, fromPitch, width, height;
  size_t toBytes() const { return (height - 1) * toPitch + width; }
  size_t fromBytes() const { return (height - 1) * fromPitch + width; }
  void run() const {
    for (size_t y = 0; y < height; ++y)
      std::memmove(static_cast<char*>(to) + y * toPitch, static_cast<const char*>(from) + y * fromPitch, width);
  }
};

uint64_t uploadedBytes = 0;

// Pageable host memory is read or written before the call returns, as documented in the manual.
cudaError_t queueCopy(Copy copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (copy.width > copy.toPitch || copy.width > copy.fromPitch) return failed(cudaErrorInvalidValue);
  if (!validCopy(copy.to, copy.from, std::min(copy.toBytes(), copy.fromBytes()), kind))
    return failed(cudaErrorInvalidValue);
  if (touchesDevice(copy.to) && !isDevice(copy.to, copy.toBytes())) return failed(cudaErrorInvalidValue);
  if (touchesDevice(copy.from) && !isDevice(copy.from, copy.fromBytes())) return failed(cudaErrorInvalidValue);
  if (!touchesDevice(copy.from) && touchesDevice(copy.to)) uploadedBytes += copy.width * copy.height;
  CUstream_st* const on = resolve(stream);
  const bool pageableFrom = !touchesDevice(copy.from) && !isPinned(copy.from, copy.fromBytes());
  const bool pageableTo = !touchesDevice(copy.to) && !isPinned(copy.to, copy.toBytes());
  if (on->capture && (pageableFrom || pageableTo)) {
    spoil(*on->capture);
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  if (pageableFrom && mode() != Mode::Immediate) {
    auto staged = std::make_shared<std::vector<char>>(static_cast<const char*>(copy.from),
                                                      static_cast<const char*>(copy.from) + copy.fromBytes());
    copy.from = staged->data();
    return enqueue(stream, [copy, staged] { copy.run(); });
  }
  if (const cudaError_t error = enqueue(stream, [copy] { copy.run(); })) return error;
  if (pageableTo) runUntil(*on->queue, on->queue->submitted);
  return cudaSuccess;
}

cudaError_t queueMemset(void* data, int value, size_t bytes, cudaStream_t stream) {
  if (bytes == 0) return cudaSuccess;
  if (!isDevice(data, bytes)) return failed(cudaErrorInvalidValue);
  return enqueue(stream, [=] { std::memset(data, value, bytes); });
}

cudaError_t finishLegacy() {
  Stream& queue = *legacyStream()->queue;
  runUntil(queue, queue.submitted);
  return cudaSuccess;
}

}  // namespace

bool isDevice(const void* data, size_t bytes) { return within(data, bytes, true); }
bool isPinned(const void* data, size_t bytes) { return within(data, bytes, false); }
bool touchesDevice(const void* data) {
  const auto* found = find(data);
  return found && found->second.device >= 0;
}

uint64_t uploaded() {
  const std::lock_guard lock(mutex());
  return uploadedBytes;
}

Live liveMemory() {
  Live result;
  for (const auto& [key, allocation] : memory().allocations) {
    if (allocation.device < 0) {
      ++result.pinned;
    } else {
      ++result.allocations;
      result.bytes += allocation.bytes;
    }
  }
  return result;
}

void setLimit(size_t bytes) { memory().limit = bytes; }

void openDeviceMemory() {
  if (memory().open++ == 0) poisonAll(false);
}
void closeDeviceMemory() {
  if (--memory().open == 0) poisonAll(true);
}

}  // namespace wbsr::host_cuda

using namespace wbsr::host_cuda;

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = nullptr;
  HOST_CUDA_BEGIN("cudaMalloc");
  if (const cudaError_t error = unlessCapturing()) return error;
  if (bytes == 0) return cudaSuccess;
  Memory& m = memory();
  size_t& used = m.used[currentDevice()];
  const size_t limit = m.limit ? m.limit : kMemory;
  if (bytes > limit || used > limit - bytes) return failed(cudaErrorMemoryAllocation);
  *data = allocate(bytes, currentDevice());
  if (!*data) return failed(cudaErrorMemoryAllocation);
  used += bytes;
  return cudaSuccess;
}

cudaError_t cudaFree(void* data) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaFree");
  if (!data) return error;
  if (const cudaError_t capturing = unlessCapturing()) return capturing;
  runAll();  // as a device does
  if (!release(data, true)) return failed(cudaErrorInvalidValue);
  return error;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  *data = nullptr;
  HOST_CUDA_BEGIN("cudaHostAlloc");
  if (const cudaError_t error = unlessCapturing()) return error;
  if (bytes == 0) return cudaSuccess;
  *data = allocate(bytes, -1);
  return *data ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void** data, size_t bytes, unsigned flags) { return cudaHostAlloc(data, bytes, flags); }

cudaError_t cudaFreeHost(void* data) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaFreeHost");
  if (!data) return error;
  if (const cudaError_t capturing = unlessCapturing()) return capturing;
  // Queued work is not waited for: what still uses the memory is found out by AddressSanitizer.
  if (!release(data, false)) return failed(cudaErrorInvalidValue);
  return error;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  HOST_CUDA_BEGIN("cudaMemGetInfo");
  Memory& m = memory();
  *total = m.limit ? m.limit : kMemory;
  *free = *total - std::min(*total, m.used[currentDevice()]);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  HOST_CUDA_BEGIN("cudaMemcpy");
  if (const cudaError_t error = unlessCapturing()) return error;
  if (const cudaError_t error = queueCopy({to, from, bytes, bytes, bytes, 1}, kind, nullptr)) return error;
  return finishLegacy();
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  HOST_CUDA_BEGIN("cudaMemcpyAsync");
  return queueCopy({to, from, bytes, bytes, bytes, 1}, kind, stream);
}

cudaError_t cudaMemcpy2D(void* to, size_t toPitch, const void* from, size_t fromPitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  HOST_CUDA_BEGIN("cudaMemcpy2D");
  if (const cudaError_t error = unlessCapturing()) return error;
  if (const cudaError_t error = queueCopy({to, from, toPitch, fromPitch, width, height}, kind, nullptr)) return error;
  return finishLegacy();
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t toPitch, const void* from, size_t fromPitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  HOST_CUDA_BEGIN("cudaMemcpy2DAsync");
  return queueCopy({to, from, toPitch, fromPitch, width, height}, kind, stream);
}

cudaError_t cudaMemset(void* data, int value, size_t bytes) {
  HOST_CUDA_BEGIN("cudaMemset");
  if (const cudaError_t error = unlessCapturing()) return error;
  if (const cudaError_t error = queueMemset(data, value, bytes, nullptr)) return error;
  return finishLegacy();
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  HOST_CUDA_BEGIN("cudaMemsetAsync");
  return queueMemset(data, value, bytes, stream);
}

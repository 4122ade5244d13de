// The CUDA runtime as native/cuda uses it: errors that name call, file, line and device; owners of memory, streams,
// events and graphs; one launch() for kernels. The same sources compile as plain C++ against
// test/native/cuda/host_cuda, whose <cuda_runtime.h> comes first on the include path then (WBSR_HOST_CUDA is defined).
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "core/error.h"

namespace wbsr::cuda {

using bf16 = __nv_bfloat16;

// Throws wbsr::Error: WBSR_OUT_OF_MEMORY where the device's memory is full (the error is cleared: the device can be
// used on), else WBSR_DEVICE_FAILED.
[[noreturn]] void throwCudaError(cudaError_t status, const char* call, const char* file, int line);

#define WBSR_CUDA(call)                                                                           \
  do {                                                                                            \
    const cudaError_t status_ = (call);                                                           \
    if (status_ != cudaSuccess) ::wbsr::cuda::throwCudaError(status_, #call, __FILE__, __LINE__); \
  } while (0)

// Dynamic shared memory of the running kernel as an array of T, 16-byte aligned.
#ifdef WBSR_HOST_CUDA
#define WBSR_SHARED(T, name) T* const name = static_cast<T*>(::wbsr::host_cuda::dynamicShared())
#else
#define WBSR_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char wbsrShared_[]; \
  T* const name = reinterpret_cast<T*>(wbsrShared_)
#endif

#if defined(WBSR_HOST_CUDA) || defined(__CUDACC__)  // not for sources without kernels, which any C++ compiler takes
// kernel<<<grid, block, shared, stream>>>(arguments...), checked. An empty grid launches nothing.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#ifdef WBSR_HOST_CUDA
  ::wbsr::host_cuda::launch(kernel, grid, block, shared, stream,
                            static_cast<Parameters>(std::forward<Arguments>(arguments))...);
#else
  kernel<<<grid, block, shared, stream>>>(static_cast<Parameters>(std::forward<Arguments>(arguments))...);
#endif
  WBSR_CUDA(cudaGetLastError());
}
#endif

// Copies between host and device and waits for it: what follows on other streams sees the result, and the host's memory
// may be reused. (A plain cudaMemcpy from pageable memory may return before the device has it all.)
void copyNow(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);

inline int64_t divideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Grows, never shrinks, loses its contents when it grows.
template <bool Pinned>
class Buffer {
 public:
  Buffer() = default;
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  // True when the address changed (graphs that were captured with the old one are stale).
  bool reserve(size_t bytes);
  void release();
  template <typename T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

using DeviceBuffer = Buffer<false>;  // memory of the current device
using PinnedBuffer = Buffer<true>;   // page-locked memory of the host

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }
  void synchronise() const;

 private:
  cudaStream_t stream_ = nullptr;
};

// synchronise() sleeps instead of spinning, so that waiting for a whole step or band does not occupy a core.
class Event {
 public:
  explicit Event(bool timed = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream);
  void makeWait(cudaStream_t stream) const;  // work queued on `stream` from now on waits for the event
  void synchronise() const;
  double secondsSince(const Event& earlier) const;  // both timed and over

 private:
  cudaEvent_t event_ = nullptr;
};

// Held while a stream is captured, and by calls that wait for the whole device (cuDNN's making and ending of handles):
// such a call ends captures of other threads on that device, whatever their mode. One for the process.
std::mutex& captureTurn();

// The work that a function queued on a stream, captured for replay.
class Graph {
 public:
  Graph() = default;
  ~Graph() { reset(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  bool captured() const { return graph_ != nullptr; }
  // Nothing has been queued when it throws.
  template <typename F>
  void capture(cudaStream_t stream, F&& work) {
    const std::lock_guard<std::mutex> turn(captureTurn());
    begin(stream);
    try {
      work();
    } catch (...) {
      abandon(stream);
      throw;
    }
    end(stream);
  }
  void launch(cudaStream_t stream) const;
  void reset();

 private:
  void begin(cudaStream_t stream);
  void end(cudaStream_t stream);
  void abandon(cudaStream_t stream);
  cudaGraphExec_t graph_ = nullptr;
};

}  // namespace wbsr::cuda

// Controls and queries of the CUDA on the host for tests. Only if WBSR_HOST_CUDA is defined.
#pragma once
#include <functional>
#include <string>

#include "api.h"

namespace wbsr::host_cuda {

// Immediate: queued work runs at once. Deferred: it runs as late as CUDA allows, when something waits for it, and work
// of different streams, also of those that met in a captured graph, in an order that only waits on events settle: code
// that forgets one, or that changes a pinned buffer too early, computes something wrong. What another stream does comes as
// late as the waits for it allow. DeferredAhead: the same, but it comes as early as its own waits allow. One of the two
// shows a forgotten wait, whichever side forgot it.
enum class Mode { Immediate, Deferred, DeferredAhead };
void setMode(Mode mode);  // runs what is queued first
Mode mode();

// Work of our own on a stream, as kernels and copies are queued: also captured, deferred, counted as a failure.
// Returns what a runtime call would.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);

// The call named, counted from now, the `after`th one after the next, fails: "cudaMalloc", "cudaMemcpyAsync", ... or
// "launch". Errors of a broken context (cudaErrorIllegalAddress and the like) fail every call from then on, as on a device,
// until restart().
void failNext(const std::string& call, cudaError_t error, int after = 0);

// Plants a forgotten wait: of the calls of cudaStreamWaitEvent from now on, the `after`th one after the next does nothing.
void forgetWait(int after = 0);
uint64_t waits();  // calls of cudaStreamWaitEvent so far

// The machine's devices. error: the result of cudaGetDeviceCount if there are none.
void setDevices(int count, cudaError_t error = cudaErrorNoDevice);
void setSharedMemory(int bytes);    // that a block may ask for; 0: as it is at first, 227 KiB
void setMemoryLimit(size_t bytes);  // of one device's live bytes; 0: as it is at first, 8 GiB

struct Live {
  size_t bytes = 0, allocations = 0, pinned = 0, streams = 0, events = 0, graphs = 0;
  bool none() const { return allocations + pinned + streams + events + graphs == 0; }
  std::string text() const;
};
Live live();
uint64_t launches();  // kernels that ran so far

uint64_t uploaded();  // bytes that copies from the host to the device have asked for so far

// A process that begins: no injected failure, no planted one, no broken context, Immediate, one device, no limit. What lives, lives on.
void restart();

}  // namespace wbsr::host_cuda

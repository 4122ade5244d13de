// The state of the runtime on the host. One mutex guards all of it, and is held while queued work runs.
#pragma once
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "control.h"
#include "engine.h"

namespace wbsr::host_cuda {

// Work of a captured graph and what must have run before it.
struct Node {
  std::function<void()> work;
  std::vector<int> needs;
  bool branch = false;  // of another stream than the one whose capture it is
};

struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool invalid = false;
  std::vector<Node> nodes;
  std::vector<CUstream_st*> streams;  // the origin and those that joined
};

// Outlives its handle while work is queued.
struct Stream {
  int device = 0;
  bool blocking = false;  // with the legacy stream
  uint64_t submitted = 0, completed = 0;
  std::deque<std::function<void()>> queue;
};

using Time = std::chrono::steady_clock::time_point;

}  // namespace wbsr::host_cuda

struct CUstream_st {
  std::shared_ptr<wbsr::host_cuda::Stream> queue;
  std::shared_ptr<wbsr::host_cuda::Capture> capture;
  std::vector<int> last;  // nodes that the next captured one needs
};

struct CUevent_st {
  int device = 0;
  bool timing = true;
  std::shared_ptr<wbsr::host_cuda::Stream> queue;  // null: never recorded
  uint64_t at = 0;                                 // done when the queue has completed so much
  std::shared_ptr<wbsr::host_cuda::Time> time;
  std::shared_ptr<wbsr::host_cuda::Capture> capture;
  std::vector<int> last;
};

struct CUgraph_st {
  std::vector<wbsr::host_cuda::Node> nodes;
  std::vector<int> last;  // what the capturing stream ended with
};

struct CUgraphExec_st {
  int device = 0;
  std::shared_ptr<const CUgraph_st> graph;
};

namespace wbsr::host_cuda {

std::recursive_mutex& mutex();

// --- runtime.cc: errors and devices ---
// First line of each runtime call: an injected failure or a broken context.
cudaError_t begin(const char* call);
cudaError_t failed(cudaError_t error);  // remembers it for cudaGetLastError
bool broken();
int currentDevice();
bool validDevice(int device);
bool waitForgotten();  // counts a call of cudaStreamWaitEvent

// --- streams.cc ---
CUstream_st* legacyStream();                // of the current device
CUstream_st* resolve(cudaStream_t stream);  // null is the legacy one
void runUntil(Stream& stream, uint64_t at);
void runAll();  // every queue of every device
void runAll(int device);
Live liveHandles();

// --- graphs.cc ---
// The result of a call that could wait for the device while this thread captures; invalidates the capture.
cudaError_t unlessCapturing();
void spoil(Capture& capture);
// Waiting for the whole device ends the captures of other threads on it, whatever their mode; the waiting thread does not
// hear of it.
void spoilOthers();
Live liveGraphs();

// --- memory.cc ---
bool isDevice(const void* data, size_t bytes);  // whole range within one allocation of device memory
bool touchesDevice(const void* data);           // begins in device memory
bool isPinned(const void* data, size_t bytes);
Live liveMemory();
void setLimit(size_t bytes);
// Device memory can be touched between the two, which nest: AddressSanitizer reports host code that does otherwise.
void openDeviceMemory();
void closeDeviceMemory();

}  // namespace wbsr::host_cuda

// First line of a runtime call.
#define HOST_CUDA_BEGIN(call)                              \
  const std::lock_guard lock_(::wbsr::host_cuda::mutex()); \
  if (const cudaError_t begun_ = ::wbsr::host_cuda::begin(call)) return begun_

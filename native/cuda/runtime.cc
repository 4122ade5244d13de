#include "cuda/runtime.h"

namespace wbsr::cuda {

void throwCudaError(cudaError_t status, const char* call, const char* file, int line) {
  int device = -1;
  cudaGetDevice(&device);
  cudaGetLastError();  // clears what can be cleared
  const std::string name = file;
  const size_t slash = name.rfind("native/");
  const std::string where = (slash == std::string::npos ? name : name.substr(slash)) + ":" + std::to_string(line);
  const std::string what = std::string(cudaGetErrorName(status)) + " (" + cudaGetErrorString(status) + ") in " + call +
                           " at " + where + " on CUDA device " + std::to_string(device);
  throw Error(status == cudaErrorMemoryAllocation ? "WBSR_OUT_OF_MEMORY" : "WBSR_DEVICE_FAILED", what);
}

void copyNow(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (bytes == 0) return;
  WBSR_CUDA(cudaMemcpyAsync(to, from, bytes, kind, stream));
  WBSR_CUDA(cudaStreamSynchronize(stream));
}

template <bool Pinned>
bool Buffer<Pinned>::reserve(size_t bytes) {
  if (bytes <= bytes_) return false;
  release();
  if constexpr (Pinned)
    WBSR_CUDA(cudaHostAlloc(&data_, bytes, cudaHostAllocDefault));
  else
    WBSR_CUDA(cudaMalloc(&data_, bytes));
  bytes_ = bytes;
  return true;
}

template <bool Pinned>
void Buffer<Pinned>::release() {
  if (data_) Pinned ? cudaFreeHost(data_) : cudaFree(data_);
  data_ = nullptr;
  bytes_ = 0;
}

template class Buffer<false>;
template class Buffer<true>;

Stream::Stream() { WBSR_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
Stream::~Stream() { cudaStreamDestroy(stream_); }
void Stream::synchronise() const { WBSR_CUDA(cudaStreamSynchronize(stream_)); }

Event::Event(bool timed) {
  WBSR_CUDA(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync | (timed ? 0u : cudaEventDisableTiming)));
}
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(cudaStream_t stream) { WBSR_CUDA(cudaEventRecord(event_, stream)); }
void Event::makeWait(cudaStream_t stream) const { WBSR_CUDA(cudaStreamWaitEvent(stream, event_, 0)); }
void Event::synchronise() const { WBSR_CUDA(cudaEventSynchronize(event_)); }

double Event::secondsSince(const Event& earlier) const {
  float milliseconds = 0.f;
  WBSR_CUDA(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
  return static_cast<double>(milliseconds) / 1000.0;
}

std::mutex& captureTurn() {
  static std::mutex* const turn = new std::mutex;  // engines may outlive static objects
  return *turn;
}

void Graph::begin(cudaStream_t stream) {
  reset();
  WBSR_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
}

void Graph::end(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  WBSR_CUDA(cudaStreamEndCapture(stream, &graph));
  const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  if (status != cudaSuccess) {
    graph_ = nullptr;
    throwCudaError(status, "cudaGraphInstantiate", __FILE__, __LINE__);
  }
}

void Graph::abandon(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void Graph::launch(cudaStream_t stream) const { WBSR_CUDA(cudaGraphLaunch(graph_, stream)); }

void Graph::reset() {
  if (graph_) cudaGraphExecDestroy(graph_);
  graph_ = nullptr;
}

}  // namespace wbsr::cuda

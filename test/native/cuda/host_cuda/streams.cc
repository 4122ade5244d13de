// Streams and events of the CUDA on the host. A stream is a queue that runs when something waits for it (Deferred) or at
// once (Immediate); an event is a place in a queue.
#include <algorithm>
#include <map>

#include "state.h"

namespace wbsr::host_cuda {

namespace {

struct Streams {
  Mode mode = Mode::Immediate;
  std::map<int, CUstream_st*> legacy;           // by device
  std::vector<std::shared_ptr<Stream>> queues;  // also of streams destroyed with work left
  size_t streams = 0, events = 0;
  bool ahead = false;  // DeferredAhead lets other streams go first just now
};
Streams& streams() {
  static Streams* const one = new Streams;
  return *one;
}

CUstream_st* makeStream(int device, bool blocking) {
  auto* stream = new CUstream_st;
  stream->queue = std::make_shared<Stream>();
  stream->queue->device = device;
  stream->queue->blocking = blocking;
  streams().queues.push_back(stream->queue);
  return stream;
}

// Between the legacy stream and the blocking ones of its device nothing overlaps.
void followLegacy(Stream& queue, std::vector<std::pair<std::shared_ptr<Stream>, uint64_t>>& first) {
  const auto legacy = streams().legacy.find(queue.device);
  const bool isLegacy = legacy != streams().legacy.end() && legacy->second->queue.get() == &queue;
  for (const auto& other : streams().queues) {
    if (other.get() == &queue || other->device != queue.device || other->completed == other->submitted) continue;
    const bool otherLegacy = legacy != streams().legacy.end() && legacy->second->queue == other;
    if ((isLegacy && other->blocking) || (queue.blocking && otherLegacy)) first.emplace_back(other, other->submitted);
  }
}

// Puts work at the end of a queue.
void append(Stream& queue, std::function<void()> work) {
  std::vector<std::pair<std::shared_ptr<Stream>, uint64_t>> first;
  followLegacy(queue, first);
  ++queue.submitted;
  queue.queue.push_back([first = std::move(first), work = std::move(work)] {
    for (const auto& [other, at] : first) runUntil(*other, at);
    if (broken()) return;
    openDeviceMemory();
    work();
    closeDeviceMemory();
  });
  if (streams().mode == Mode::Immediate) runUntil(queue, queue.submitted);
}

// The result of a call about an event that was last recorded in a capture.
cudaError_t capturedEvent(CUevent_st& event) {
  spoil(*event.capture);
  return failed(cudaErrorCapturedEvent);
}

}  // namespace

CUstream_st* legacyStream() {
  CUstream_st*& stream = streams().legacy[currentDevice()];
  if (!stream) stream = makeStream(currentDevice(), false);
  return stream;
}

CUstream_st* resolve(cudaStream_t stream) { return stream ? stream : legacyStream(); }

void runUntil(Stream& queue, uint64_t at) {
  if (streams().mode == Mode::DeferredAhead && !streams().ahead) {
    streams().ahead = true;
    for (const auto& other : std::vector(streams().queues))
      if (other.get() != &queue) runUntil(*other, other->submitted);
    streams().ahead = false;
  }
  while (queue.completed < at && !queue.queue.empty()) {
    const auto work = std::move(queue.queue.front());
    queue.queue.pop_front();
    work();
    ++queue.completed;
  }
}

void runAll() {
  auto& all = streams().queues;
  for (const auto& queue : std::vector(all)) runUntil(*queue, queue->submitted);
  all.erase(std::remove_if(all.begin(), all.end(), [](const auto& queue) { return queue.use_count() == 1; }),
            all.end());
}

void runAll(int device) {
  for (const auto& queue : std::vector(streams().queues))
    if (queue->device == device) runUntil(*queue, queue->submitted);
}

Live liveHandles() {
  Live result;
  result.streams = streams().streams;
  result.events = streams().events;
  return result;
}

void setMode(Mode wanted) {
  const std::lock_guard lock(mutex());
  runAll();
  streams().mode = wanted;
}

Mode mode() {
  const std::lock_guard lock(mutex());
  return streams().mode;
}

cudaError_t enqueue(cudaStream_t handle, std::function<void()> work) {
  const std::lock_guard lock(mutex());
  CUstream_st* const stream = resolve(handle);
  if (!stream->capture) {
    append(*stream->queue, std::move(work));
    return cudaSuccess;
  }
  Capture& capture = *stream->capture;
  if (capture.invalid) return failed(cudaErrorStreamCaptureInvalidated);
  capture.nodes.push_back({std::move(work), stream->last, capture.origin != stream});
  stream->last = {static_cast<int>(capture.nodes.size()) - 1};
  return cudaSuccess;
}

}  // namespace wbsr::host_cuda

using namespace wbsr::host_cuda;

cudaError_t cudaDeviceSynchronize() {
  HOST_CUDA_BEGIN("cudaDeviceSynchronize");
  spoilOthers();
  if (const cudaError_t error = unlessCapturing()) return error;
  runAll(currentDevice());
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  *stream = nullptr;
  HOST_CUDA_BEGIN("cudaStreamCreateWithFlags");
  *stream = makeStream(currentDevice(), flags != cudaStreamNonBlocking);
  ++streams().streams;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaStreamDestroy");
  if (!stream) return failed(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    spoil(*stream->capture);
    auto& joined = stream->capture->streams;
    joined.erase(std::remove(joined.begin(), joined.end(), stream), joined.end());
  }
  delete stream;
  --streams().streams;
  auto& all = streams().queues;
  all.erase(std::remove_if(all.begin(), all.end(),
                           [](const auto& queue) { return queue.use_count() == 1 && queue->queue.empty(); }),
            all.end());
  return error;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  HOST_CUDA_BEGIN("cudaStreamSynchronize");
  CUstream_st* const stream = resolve(handle);
  if (stream->capture) {
    spoil(*stream->capture);
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  runUntil(*stream->queue, stream->queue->submitted);
  return cudaSuccess;
}

// A query lets the device work a little, or a loop of queries would never end.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  HOST_CUDA_BEGIN("cudaStreamQuery");
  CUstream_st* const stream = resolve(handle);
  if (stream->capture) {
    spoil(*stream->capture);
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  Stream& queue = *stream->queue;
  if (queue.completed == queue.submitted) return cudaSuccess;
  runUntil(queue, queue.completed + 1);
  return failed(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  HOST_CUDA_BEGIN("cudaStreamWaitEvent");
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  if (waitForgotten()) return cudaSuccess;
  CUstream_st* const stream = resolve(handle);
  if (event->capture) {
    if (stream->capture && stream->capture != event->capture) return failed(cudaErrorStreamCaptureMerge);
    if (event->capture->origin == nullptr) return failed(cudaErrorCapturedEvent);  // that capture has ended
    if (!stream->capture) {
      stream->capture = event->capture;
      stream->last.clear();
      stream->capture->streams.push_back(stream);
    }
    for (int node : event->last)
      if (std::find(stream->last.begin(), stream->last.end(), node) == stream->last.end()) stream->last.push_back(node);
    return cudaSuccess;
  }
  if (stream->capture) {
    if (!event->queue) return cudaSuccess;
    spoil(*stream->capture);
    return failed(cudaErrorStreamCaptureIsolation);
  }
  if (event->queue) append(*stream->queue, [queue = event->queue, at = event->at] { runUntil(*queue, at); });
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  HOST_CUDA_BEGIN("cudaLaunchHostFunc");
  return enqueue(stream, [=] { function(data); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = nullptr;
  HOST_CUDA_BEGIN("cudaEventCreateWithFlags");
  *event = new CUevent_st;
  (*event)->device = currentDevice();
  (*event)->timing = !(flags & cudaEventDisableTiming);
  ++streams().events;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaEventDestroy");
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  delete event;
  --streams().events;
  return error;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  HOST_CUDA_BEGIN("cudaEventRecord");
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  CUstream_st* const stream = resolve(handle);
  if (event->device != stream->queue->device) return failed(cudaErrorInvalidResourceHandle);
  if (stream->capture) {
    event->queue = nullptr;
    event->capture = stream->capture;
    event->last = stream->last;
    return cudaSuccess;
  }
  event->capture = nullptr;
  event->time = std::make_shared<Time>();
  append(*stream->queue, [time = event->time] { *time = std::chrono::steady_clock::now(); });
  event->queue = stream->queue;
  event->at = stream->queue->submitted;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  HOST_CUDA_BEGIN("cudaEventSynchronize");
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  if (event->capture) return capturedEvent(*event);
  if (event->queue) runUntil(*event->queue, event->at);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  HOST_CUDA_BEGIN("cudaEventQuery");
  if (!event) return failed(cudaErrorInvalidResourceHandle);
  if (event->capture) return capturedEvent(*event);
  if (const cudaError_t error = unlessCapturing()) return error;
  if (!event->queue || event->queue->completed >= event->at) return cudaSuccess;
  runUntil(*event->queue, event->queue->completed + 1);
  return failed(cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  HOST_CUDA_BEGIN("cudaEventElapsedTime");
  if (!from || !to || !from->timing || !to->timing || !from->queue || !to->queue)
    return failed(cudaErrorInvalidResourceHandle);
  if (from->queue->completed < from->at || to->queue->completed < to->at) return failed(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(*to->time - *from->time).count();
  return cudaSuccess;
}

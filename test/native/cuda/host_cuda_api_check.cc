// The runtime API of the CUDA on the host (host_cuda/): memory and its limit, streams that run late, events, captured
// graphs, errors; and that forgotten waits show.
#include <functional>
#include <thread>

#include "cuda/runtime.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::test;
using host_cuda::Mode;

namespace {

__global__ void addKernel(int* x, int value) { atomicAdd(x, value); }
__global__ void copyKernel(const int* from, int* to) { *to = *from; }
__global__ void sharedKernel(int* out) {
  WBSR_SHARED(int, buffer);
  buffer[threadIdx.x] = 1;
  *out = buffer[threadIdx.x];
}

void add(int* x, int value, cudaStream_t stream) { cuda::launch(addKernel, 1, 1, 0, stream, x, value); }
void copy(const int* from, int* to, cudaStream_t stream) { cuda::launch(copyKernel, 1, 1, 0, stream, from, to); }
int valueOf(const DeviceArray<int>& x) { return x.download()[0]; }

// The call returns the error, and cudaGetLastError reports it once.
void gives(cudaError_t actual, cudaError_t expected, const std::string& what) {
  check(actual == expected, what + ": " + cudaGetErrorName(actual) + " instead of " + cudaGetErrorName(expected));
  check(cudaGetLastError() == expected, what + ": is the last error");
  check(cudaGetLastError() == cudaSuccess, what + ": is told once");
}
std::string codeOf(const std::function<void()>& work, std::string* message = nullptr) {
  try {
    work();
  } catch (const Error& error) {
    if (message) *message = error.what();
    return error.code;
  }
  return "";
}

void checkMemory() {
  host_cuda::setMemoryLimit(1000);
  void *a, *b;
  CUDA_OK(cudaMalloc(&a, 600));
  gives(cudaMalloc(&b, 401), cudaErrorMemoryAllocation, "more than there is");
  check(b == nullptr, "nothing is given then");
  size_t free, total;
  CUDA_OK(cudaMemGetInfo(&free, &total));
  check(free == 400 && total == 1000 && host_cuda::live().bytes == 600, "free and live bytes");
  cuda::DeviceBuffer buffer;
  std::string message;
  check(codeOf([&] { buffer.reserve(500); }, &message) == "WBSR_OUT_OF_MEMORY", "a buffer beyond the memory");
  check(message.find("cudaMalloc") != std::string::npos && message.find("CUDA device 0") != std::string::npos,
        "names call and device: " + message);
  check(buffer.reserve(400) && !buffer.reserve(300), "the memory is usable after that");
  CUDA_OK(cudaFree(a));
  gives(cudaFree(a), cudaErrorInvalidValue, "freed twice");
  host_cuda::setMemoryLimit(0);

  DeviceArray<int> x(8), y(8);
  std::vector<int> host{1, 2, 3, 4, 5, 6, 7, 8}, back(8);
  gives(cudaMemcpy(x.data(), y.data(), 32, cudaMemcpyHostToDevice), cudaErrorInvalidValue,
        "device memory where host memory is said");
  gives(cudaMemcpy(host.data(), back.data(), 32, cudaMemcpyDeviceToHost), cudaErrorInvalidValue,
        "host memory where device memory is said");
  gives(cudaMemcpy(x.data(), host.data(), 4096, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "a copy over the end");
  gives(cudaMemset(host.data(), 0, 4), cudaErrorInvalidValue, "memset of host memory");
  CUDA_OK(cudaMemcpy(x.data(), host.data(), 32, cudaMemcpyHostToDevice));
  CUDA_OK(cudaMemset(y.data(), 0, 32));
  // Two rows of two from a pitch of three to one of four.
  CUDA_OK(cudaMemcpy2DAsync(y.data(), 16, x.data() + 1, 12, 8, 2, cudaMemcpyDeviceToDevice));
  sameBits(y.download(), {2, 3, 0, 0, 5, 6, 0, 0}, "copy of rows");
}

void checkDeferred() {
  DeviceArray<int> x(std::vector<int>{0}), y(std::vector<int>{0});
  cuda::PinnedBuffer pinned;
  pinned.reserve(8);
  int* const staging = pinned.as<int>();
  cuda::Stream one, two;
  cuda::Event event;
  host_cuda::setMode(Mode::Deferred);

  const uint64_t before = host_cuda::launches();
  add(x.data(), 5, one);
  check(host_cuda::launches() == before, "a kernel waits for somebody to wait for it");
  two.synchronise();
  check(host_cuda::launches() == before, "who synchronises another stream does not");
  one.synchronise();
  check(host_cuda::launches() == before + 1 && valueOf(x) == 5, "synchronising runs it");

  // Two values through one pinned word, without and with waiting for the first copy.
  for (const bool wait : {false, true}) {
    staging[0] = 1;
    CUDA_OK(cudaMemcpyAsync(x.data(), staging, 4, cudaMemcpyHostToDevice, one));
    event.record(one);
    if (wait) event.synchronise();
    staging[0] = 2;
    CUDA_OK(cudaMemcpyAsync(y.data(), staging, 4, cudaMemcpyHostToDevice, one));
    one.synchronise();
    check(valueOf(x) == (wait ? 1 : 2) && valueOf(y) == 2,
          wait ? "a pinned word used again after a wait" : "a pinned word used again too early shows");
  }
  int pageable = 3;
  CUDA_OK(cudaMemcpyAsync(x.data(), &pageable, 4, cudaMemcpyHostToDevice, one));
  pageable = 4;
  CUDA_OK(cudaMemcpyAsync(&pageable, x.data(), 4, cudaMemcpyDeviceToHost, one));
  check(pageable == 3, "pageable memory is read and written before the call returns");
  staging[1] = 0;
  CUDA_OK(cudaMemcpyAsync(staging + 1, x.data(), 4, cudaMemcpyDeviceToHost, one));
  check(staging[1] == 0, "pinned memory is written later");
  one.synchronise();
  check(staging[1] == 3, "and is, once it was waited for");

  // A stream that reads what another writes, without and with a wait.
  for (const bool wait : {false, true}) {
    x.zero();
    y.zero();
    add(x.data(), 7, one);
    event.record(one);
    if (wait) event.makeWait(two);
    copy(x.data(), y.data(), two);
    two.synchronise();
    check(valueOf(y) == (wait ? 7 : 0), wait ? "a stream waits for the event of another" : "a forgotten wait shows");
    one.synchronise();
  }
  // The same if the stream that is read is the one that is waited for.
  for (const bool wait : {false, true}) {
    host_cuda::setMode(Mode::DeferredAhead);
    x.zero();
    y.zero();
    add(x.data(), 7, one);
    event.record(one);
    if (wait) event.makeWait(two);
    copy(x.data(), y.data(), two);
    one.synchronise();
    two.synchronise();
    check(valueOf(y) == (wait ? 7 : 0),
          wait ? "a stream ahead of another waits for its event" : "a wait that a stream ahead forgot shows");
    host_cuda::setMode(Mode::Deferred);
  }
  x.zero();
  y.zero();
  const uint64_t waitsBefore = host_cuda::waits();
  host_cuda::forgetWait(1);
  for (int i = 0; i < 3; ++i) {
    add(x.data(), 1, one);
    event.record(one);
    event.makeWait(two);
    copy(x.data(), y.data(), two);
    two.synchronise();
    check(valueOf(y) == (i == 0 ? 1 : i == 1 ? 1 : 3), "the second wait is forgotten");
  }
  check(host_cuda::waits() == waitsBefore + 3, "waits are counted");
  one.synchronise();
  // An event is a place in the stream, not its end; recorded again it is the newer place.
  x.zero();
  y.zero();
  add(x.data(), 1, one);
  event.record(one);
  add(x.data(), 10, one);
  event.makeWait(two);
  event.record(one);
  copy(x.data(), y.data(), two);
  two.synchronise();
  check(valueOf(y) == 1, "a wait is for the place that the event had");
  check(cudaEventQuery(nullptr) == cudaErrorInvalidResourceHandle && cudaGetLastError() != cudaSuccess, "no event");
  add(x.data(), 1, one);
  int queries = 0;
  while (cudaStreamQuery(one) == cudaErrorNotReady) ++queries;
  cudaGetLastError();
  check(queries == 1, "queries come to an end");

  // The legacy stream stands between the work of blocking streams.
  cudaStream_t blocking;
  CUDA_OK(cudaStreamCreate(&blocking));
  x.zero();
  add(x.data(), 3, blocking);
  copy(x.data(), y.data(), nullptr);
  add(x.data(), 4, blocking);
  CUDA_OK(cudaStreamSynchronize(blocking));
  check(valueOf(y) == 3 && valueOf(x) == 7, "the legacy stream waits for blocking streams and they for it");
  add(x.data(), 1, blocking);
  CUDA_OK(cudaStreamDestroy(blocking));
  CUDA_OK(cudaDeviceSynchronize());
  check(valueOf(x) == 8, "a destroyed stream ends its work");
  host_cuda::setMode(Mode::Immediate);
}

void checkGraphs() {
  DeviceArray<int> x(std::vector<int>{0}), y(std::vector<int>{0});
  cuda::Stream one, two;
  cuda::Event fork, join;
  cuda::Graph graph;
  for (const Mode mode : {Mode::Immediate, Mode::Deferred, Mode::DeferredAhead}) {
    x.zero();
    host_cuda::setMode(mode);
    int value = 2;
    graph.capture(one, [&] {
      add(x.data(), value, one);
      value = 100;
      fork.record(one);
      fork.makeWait(two);
      copy(x.data(), y.data(), two);
      join.record(two);
      join.makeWait(one);
      CUDA_OK(cudaMemsetAsync(x.data() + 0, 0, 0, one));
      add(x.data(), 1, one);
    });
    check(valueOf(x) == 0, "a capture runs nothing");
    graph.launch(one);
    graph.launch(one);
    one.synchronise();
    check(valueOf(x) == 6 && valueOf(y) == 5, "a graph is replayed, with the arguments as they were");
  }
  // The second branch forgets that the first writes what it reads: found when deferred.
  host_cuda::setMode(Mode::Deferred);
  graph.capture(one, [&] {
    fork.record(one);
    fork.makeWait(two);
    add(x.data(), 10, two);
    copy(x.data(), y.data(), one);
    join.record(two);
    join.makeWait(one);
    add(x.data(), 1, one);
  });
  x.zero();
  graph.launch(one);
  one.synchronise();
  check(valueOf(x) == 11 && valueOf(y) == 0, "a forgotten wait within a graph shows");
  // Or that the second writes it: found when the second goes ahead.
  for (const bool wait : {false, true}) {
    graph.capture(one, [&] {
      fork.record(one);
      add(x.data(), 10, one);
      if (wait) fork.record(one);
      fork.makeWait(two);
      copy(x.data(), y.data(), two);
      join.record(two);
      join.makeWait(one);
    });
    for (const Mode mode : {Mode::Deferred, Mode::DeferredAhead}) {
      host_cuda::setMode(mode);
      x.zero();
      graph.launch(one);
      one.synchronise();
      check(valueOf(y) == (wait || mode == Mode::Deferred ? 10 : 0), "a branch runs ahead as far as it may");
    }
  }
  host_cuda::setMode(Mode::Immediate);

  const auto begin = [&] { CUDA_OK(cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal)); };
  const auto end = [&] {
    cudaGraph_t made = nullptr;
    const cudaError_t error = cudaStreamEndCapture(one, &made);
    if (made) CUDA_OK(cudaGraphDestroy(made));
    return error;
  };
  void* data = nullptr;
  begin();
  gives(cudaMalloc(&data, 4), cudaErrorStreamCaptureUnsupported, "memory in a capture");
  gives(end(), cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
  begin();
  gives(cudaStreamSynchronize(one), cudaErrorStreamCaptureUnsupported, "waiting in a capture");
  gives(end(), cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
  begin();
  std::thread([] { cudaStreamQuery(nullptr); }).join();
  gives(end(), cudaSuccess, "other threads may ask");
  begin();
  std::thread([] { CUDA_OK(cudaDeviceSynchronize()); }).join();
  gives(end(), cudaErrorStreamCaptureInvalidated, "another thread waited for the whole device");
  begin();
  int host = 0;
  gives(cudaMemcpyAsync(x.data(), &host, 4, cudaMemcpyHostToDevice, one), cudaErrorStreamCaptureUnsupported,
        "pageable memory in a capture");
  gives(end(), cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
  begin();
  fork.record(one);
  fork.makeWait(two);
  add(x.data(), 1, two);
  std::string message;
  check(codeOf([&] { fork.synchronise(); }, &message) == "WBSR_DEVICE_FAILED" &&
            message.find("cudaErrorCapturedEvent") == 0,
        "waiting for an event of a capture");
  gives(end(), cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
  begin();
  fork.record(one);
  fork.makeWait(two);
  add(x.data(), 1, two);
  gives(end(), cudaErrorStreamCaptureUnjoined, "a branch that does not come back");
  join.record(two);
  begin();
  codeOf([&] { join.makeWait(one); }, &message);
  check(message.find("cudaErrorStreamCaptureIsolation") == 0, "an event from outside in a capture: " + message);
  gives(end(), cudaErrorStreamCaptureInvalidated, "a capture that was spoilt");
  gives(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeThreadLocal), cudaErrorStreamCaptureUnsupported,
        "capture of the legacy stream");

  check(codeOf([&] { graph.capture(one, [&] { WBSR_CUDA(cudaMalloc(&data, 4)); }); }, &message) == "WBSR_DEVICE_FAILED",
        "a capture that throws");
  check(message.find("host_cuda_api_check.cc") != std::string::npos, "names the file: " + message);
  graph.capture(one, [&] { add(x.data(), 1, one); });
  x.zero();
  graph.launch(one);
  one.synchronise();
  check(valueOf(x) == 1, "the stream is usable after that");
  // Other threads may go on while one captures.
  cudaError_t other = cudaErrorUnknown;
  begin();
  std::thread([&] {
    other = cudaMalloc(&data, 4);
    cudaFree(data);
  }).join();
  check(other == cudaSuccess && end() == cudaSuccess, "a capture leaves other threads alone");
}

void checkFailures() {
  DeviceArray<int> x(std::vector<int>{0});
  check(codeOf([&] { cuda::launch(addKernel, 1, 1025, 0, nullptr, x.data(), 1); }) == "WBSR_DEVICE_FAILED",
        "too many threads");
  check(codeOf([&] { cuda::launch(addKernel, dim3(1, 65536), 1, 0, nullptr, x.data(), 1); }) == "WBSR_DEVICE_FAILED",
        "too many blocks");
  const auto large = [&] { cuda::launch(sharedKernel, 1, 1, 100 << 10, nullptr, x.data()); };
  check(codeOf(large) == "WBSR_DEVICE_FAILED", "shared memory that was not asked for");
  CUDA_OK(cudaFuncSetAttribute(sharedKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 << 10));
  large();
  check(valueOf(x) == 1, "and that was");
  cuda::launch(addKernel, dim3(0), 1, 0, nullptr, x.data(), 1);
  check(valueOf(x) == 1, "an empty grid launches nothing");

  host_cuda::failNext("cudaMemset", cudaErrorInvalidValue, 1);
  check(cudaMemset(x.data(), 0, 4) == cudaSuccess, "a failure comes when it is due");
  gives(cudaMemset(x.data(), 0, 4), cudaErrorInvalidValue, "an injected failure");
  check(cudaMemset(x.data(), 0, 4) == cudaSuccess, "and only once");
  host_cuda::failNext("launch", cudaErrorIllegalAddress);
  std::string message;
  check(codeOf([&] { add(x.data(), 1, nullptr); }, &message) == "WBSR_DEVICE_FAILED", "an injected fault");
  check(message.find("cudaErrorIllegalAddress (an illegal memory access was encountered)") != std::string::npos,
        message);
  check(cudaDeviceSynchronize() == cudaErrorIllegalAddress && cudaGetLastError() == cudaErrorIllegalAddress &&
            cudaGetLastError() == cudaErrorIllegalAddress,
        "a broken context stays broken");
  host_cuda::restart();
  check(cudaDeviceSynchronize() == cudaSuccess && valueOf(x) == 0, "until the next process");

  host_cuda::setDevices(0, cudaErrorInsufficientDriver);
  int count = 7;
  gives(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver, "no driver");
  check(count == 0, "no devices");
  host_cuda::setDevices(2);
  CUDA_OK(cudaGetDeviceCount(&count));
  check(count == 2, "two devices");
  gives(cudaSetDevice(2), cudaErrorInvalidDevice, "the third of two devices");
  cuda::Stream first;
  CUDA_OK(cudaSetDevice(1));
  check(codeOf([&] { add(x.data(), 1, first); }, &message) == "WBSR_DEVICE_FAILED", "a stream of another device");
  check(message.find("on CUDA device 1") != std::string::npos, message);
  int device = 0;
  std::thread([&] { cudaGetDevice(&device); }).join();
  check(device == 0, "each thread has its own current device");
  CUDA_OK(cudaSetDevice(0));
}

// Threads of the host with a stream each.
void checkThreads() {
  std::vector<std::thread> threads;
  std::vector<int> results(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &results] {
      cuda::DeviceBuffer x;
      x.reserve(4);
      cuda::Stream stream;
      cuda::Graph graph;
      WBSR_CUDA(cudaMemsetAsync(x.as(), 0, 4, stream));
      graph.capture(stream, [&] { cuda::launch(addKernel, 3, 40, 0, stream, x.as<int>(), t); });
      for (int i = 0; i < 10; ++i) graph.launch(stream);
      WBSR_CUDA(cudaMemcpyAsync(&results[static_cast<size_t>(t)], x.as(), 4, cudaMemcpyDeviceToHost, stream));
      stream.synchronise();
    });
  }
  for (auto& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) check(results[static_cast<size_t>(t)] == 1200 * t, "work of several threads");
}

}  // namespace

int main() {
  checkMemory();
  checkDeferred();
  checkGraphs();
  checkFailures();
  for (const Mode mode : {Mode::Immediate, Mode::Deferred, Mode::DeferredAhead}) {
    host_cuda::setMode(mode);
    checkThreads();
  }
  host_cuda::restart();
  check(host_cuda::live().none(), "nothing is left: " + host_cuda::live().text());
  return finish();
}

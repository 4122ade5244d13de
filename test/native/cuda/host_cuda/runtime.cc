// Errors, devices and kernel launches of the CUDA on the host, and what tests steer.
#include <cstdio>
#include <cstring>
#include <map>

#include "state.h"

namespace wbsr::host_cuda {

namespace {

struct Injected {
  std::string call;
  cudaError_t error;
  int after;
};

struct State {
  std::vector<Injected> injected;
  cudaError_t broken = cudaSuccess;
  int devices = 1;
  cudaError_t noDevices = cudaErrorNoDevice;
  std::map<const void*, int> allowedShared;  // of kernels that asked for more than 48 KiB
  uint64_t launches = 0, waits = 0;
  int forgotten = -1;  // so many waits until one is forgotten; -1: none is
};
State& state() {
  static State* const one = new State;  // lives as long as anything that may call
  return *one;
}

thread_local cudaError_t lastError = cudaSuccess;
thread_local int device = 0;

// As an H200 has it.
constexpr int kMaxThreads = 1024, kMaxShared = 48 << 10, kMaxSharedOptin = 227 << 10;
int sharedOptin = kMaxSharedOptin;

// Errors after which a context takes no more work.
bool breaks(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorMisalignedAddress:
    case cudaErrorLaunchFailure: return true;
    default: return false;
  }
}

cudaError_t inject(const char* call) {
  auto& list = state().injected;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].call != call || list[i].after-- > 0) continue;
    const cudaError_t error = list[i].error;
    list.erase(list.begin() + static_cast<ptrdiff_t>(i));
    return error;
  }
  return cudaSuccess;
}

}  // namespace

std::recursive_mutex& mutex() {
  static auto* const one = new std::recursive_mutex;
  return *one;
}

cudaError_t failed(cudaError_t error) {
  if (error != cudaSuccess) lastError = error;
  return error;
}

bool broken() { return state().broken != cudaSuccess; }

cudaError_t begin(const char* call) {
  State& s = state();
  if (s.broken != cudaSuccess) return failed(s.broken);
  if (s.devices == 0) return failed(s.noDevices);
  const cudaError_t error = inject(call);
  if (breaks(error)) s.broken = error;
  return failed(error);
}

int currentDevice() { return device; }
bool validDevice(int d) { return d >= 0 && d < state().devices; }

void failNext(const std::string& call, cudaError_t error, int after) {
  const std::lock_guard lock(mutex());
  state().injected.push_back({call, error, after});
}

void forgetWait(int after) {
  const std::lock_guard lock(mutex());
  state().forgotten = after;
}

uint64_t waits() {
  const std::lock_guard lock(mutex());
  return state().waits;
}

bool waitForgotten() {
  State& s = state();
  ++s.waits;
  return s.forgotten >= 0 && s.forgotten-- == 0;
}

void setDevices(int count, cudaError_t error) {
  const std::lock_guard lock(mutex());
  state().devices = count;
  state().noDevices = error;
}

void setSharedMemory(int bytes) {
  const std::lock_guard lock(mutex());
  sharedOptin = bytes > 0 ? bytes : kMaxSharedOptin;
}

void setMemoryLimit(size_t bytes) {
  const std::lock_guard lock(mutex());
  setLimit(bytes);
}

std::string Live::text() const {
  return std::to_string(allocations) + " allocations of device memory (" + std::to_string(bytes) + " bytes), " +
         std::to_string(pinned) + " of pinned memory, " + std::to_string(streams) + " streams, " +
         std::to_string(events) + " events, " + std::to_string(graphs) + " graphs";
}

Live live() {
  const std::lock_guard lock(mutex());
  Live all = liveMemory();
  const Live handles = liveHandles();
  all.streams = handles.streams;
  all.events = handles.events;
  all.graphs = liveGraphs().graphs;
  return all;
}

uint64_t launches() {
  const std::lock_guard lock(mutex());
  return state().launches;
}

void restart() {
  const std::lock_guard lock(mutex());
  setMode(Mode::Immediate);
  sharedOptin = kMaxSharedOptin;
  State& s = state();
  s.injected.clear();
  s.forgotten = -1;
  s.broken = cudaSuccess;
  s.devices = 1;
  s.noDevices = cudaErrorNoDevice;
  setLimit(0);
  device = 0;
  lastError = cudaSuccess;
}

cudaError_t allowShared(const void* kernel, cudaFuncAttribute attribute, int bytes) {
  HOST_CUDA_BEGIN("cudaFuncSetAttribute");
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || bytes < 0 || bytes > sharedOptin)
    return failed(cudaErrorInvalidValue);
  state().allowedShared[kernel] = bytes;
  return cudaSuccess;
}

void queueLaunch(Launch launch, cudaStream_t stream) {
  const std::lock_guard lock(mutex());
  if (begin("launch") != cudaSuccess) return;
  const dim3 g = launch.grid, b = launch.block;
  const bool grid = g.x > 0 && g.y > 0 && g.z > 0 && g.x <= 0x7fffffffu && g.y <= 65535 && g.z <= 65535;
  const bool block = b.x > 0 && b.y > 0 && b.z > 0 && b.x <= 1024 && b.y <= 1024 && b.z <= 64 &&
                     uint64_t{b.x} * b.y * b.z <= kMaxThreads;
  if (!grid || !block) return static_cast<void>(failed(cudaErrorInvalidConfiguration));
  const auto& allowed = state().allowedShared;
  const auto found = allowed.find(launch.kernel);
  if (launch.shared > static_cast<size_t>(found == allowed.end() ? kMaxShared : std::max(kMaxShared, found->second)))
    return static_cast<void>(failed(cudaErrorInvalidValue));
  if (resolve(stream)->queue->device != device) return static_cast<void>(failed(cudaErrorInvalidResourceHandle));
  enqueue(stream, [launch = std::move(launch)] {
    ++state().launches;
    runLaunch(launch);
  });
}

}  // namespace wbsr::host_cuda

using namespace wbsr::host_cuda;

cudaError_t cudaPeekAtLastError() {
  const std::lock_guard lock(mutex());
  return broken() ? state().broken : lastError;
}

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(mutex());
  const cudaError_t error = cudaPeekAtLastError();
  lastError = cudaSuccess;
  return error;
}

#define HOST_CUDA_ERRORS(each)                                                                                         \
  each(cudaSuccess, "no error") each(cudaErrorInvalidValue, "invalid argument") each(                                  \
      cudaErrorMemoryAllocation, "out of memory") each(cudaErrorInitializationError, "initialization error")           \
      each(cudaErrorInvalidConfiguration, "invalid configuration argument") each(                                      \
          cudaErrorInvalidMemcpyDirection,                                                                             \
          "invalid copy direction for memcpy") each(cudaErrorInsufficientDriver,                                       \
                                                    "CUDA driver version is insufficient for CUDA runtime version")    \
          each(cudaErrorNoDevice, "no CUDA-capable device is detected") each(                                          \
              cudaErrorInvalidDevice,                                                                                  \
              "invalid device ordinal") each(cudaErrorInvalidResourceHandle,                                           \
                                             "invalid resource handle") each(cudaErrorNotReady, "device not ready")    \
              each(cudaErrorIllegalAddress, "an illegal memory access was encountered") each(                          \
                  cudaErrorLaunchOutOfResources, "too many resources requested for launch")                            \
                  each(cudaErrorLaunchTimeout, "the launch timed out and was terminated") each(                        \
                      cudaErrorAssert, "device-side assert triggered") each(cudaErrorMisalignedAddress,                \
                                                                            "misaligned address")                      \
                      each(cudaErrorLaunchFailure, "unspecified launch failure") each(                                 \
                          cudaErrorSystemDriverMismatch,                                                               \
                          "system has unsupported display driver / cuda driver combination")                           \
                          each(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")  \
                              each(cudaErrorStreamCaptureInvalidated,                                                  \
                                   "operation failed due to a previous error during capture")                          \
                                  each(cudaErrorStreamCaptureMerge,                                                    \
                                       "operation would result in a merge of separate capture sequences")              \
                                      each(cudaErrorStreamCaptureUnmatched,                                            \
                                           "capture was not ended in the same stream as it began")                     \
                                          each(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work")   \
                                              each(cudaErrorStreamCaptureIsolation,                                    \
                                                   "dependency created on uncaptured work in another stream")          \
                                                  each(cudaErrorStreamCaptureImplicit,                                 \
                                                       "operation would make the legacy stream depend on a capturing " \
                                                       "blocking stream") each(cudaErrorCapturedEvent,                 \
                                                                               "operation not permitted on an event "  \
                                                                               "last recorded in a capturing stream")  \
                                                      each(cudaErrorStreamCaptureWrongThread,                          \
                                                           "attempt to terminate a thread-local capture sequence "     \
                                                           "from another thread")                                      \
                                                          each(cudaErrorUnknown, "unknown error")

const char* cudaGetErrorName(cudaError_t error) {
#define HOST_CUDA_NAME(code, text) \
  if (error == code) return #code;
  HOST_CUDA_ERRORS(HOST_CUDA_NAME)
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
#define HOST_CUDA_STRING(code, text) \
  if (error == code) return text;
  HOST_CUDA_ERRORS(HOST_CUDA_STRING)
  return "unrecognized error code";
}

cudaError_t cudaDriverGetVersion(int* version) {
  const std::lock_guard lock(mutex());
  *version = state().devices == 0 && state().noDevices == cudaErrorInsufficientDriver ? 0 : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  HOST_CUDA_BEGIN("cudaGetDeviceCount");
  *count = state().devices;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* d) {
  *d = device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int d) {
  HOST_CUDA_BEGIN("cudaSetDevice");
  if (!validDevice(d)) return failed(cudaErrorInvalidDevice);
  device = d;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int d) {
  HOST_CUDA_BEGIN("cudaGetDeviceProperties");
  if (!validDevice(d)) return failed(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "host CUDA");
  size_t unused;
  cudaMemGetInfo(&unused, &properties->totalGlobalMem);
  properties->sharedMemPerBlock = kMaxShared;
  properties->sharedMemPerBlockOptin = sharedOptin;
  properties->major = 9;
  properties->minor = 0;
  properties->multiProcessorCount = 4;
  properties->maxThreadsPerBlock = kMaxThreads;
  properties->warpSize = kLanes;
  properties->l2CacheSize = 1 << 20;
  properties->pciBusID = d + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int d) {
  HOST_CUDA_BEGIN("cudaDeviceGetAttribute");
  if (!validDevice(d)) return failed(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = kMaxThreads; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = kMaxShared; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = sharedOptin; break;
    case cudaDevAttrMultiProcessorCount: *value = 4; break;
    case cudaDevAttrComputeMode: *value = cudaComputeModeDefault; break;
    case cudaDevAttrL2CacheSize: *value = 1 << 20; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = 2048; break;
    case cudaDevAttrComputeCapabilityMajor: *value = 9; break;
    case cudaDevAttrComputeCapabilityMinor: *value = 0; break;
    default: return failed(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

// findDevices() asking: a machine as the host's CUDA can be told to be one, and on a GPU the machine as it is. The words
// themselves are findings_check's.
#include <cstdlib>
#include <string>

#include "support/check.h"
#include "cuda/conv/conv.h"
#include "cuda/device.h"
#include "cuda/runtime.h"
#ifdef WBSR_HOST_CUDA
#include "control.h"
#endif

namespace {

using wbsr::cuda::findDevices;
using wbsr::test::check;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void expectReason(const std::string& part) {
  const wbsr::FoundDevices state = findDevices();
  check(state.devices.empty(), "no device: " + part);
  check(contains(state.reason, part), "found: " + state.reason + "; wanted: " + part);
  check(cudaPeekAtLastError() == cudaSuccess, "no error is left behind for the next call: " + part);
}

void checkCudnnMissing() {
  setenv("WBSR_CUDNN_PATH", "/nowhere", 1);
  expectReason("is there, but cuDNN 9 cannot be used (");
  expectReason("/nowhere");
  expectReason("pip install nvidia-cudnn-cu");
  unsetenv("WBSR_CUDNN_PATH");
}

#ifdef WBSR_HOST_CUDA
void checkMachines() {
  using namespace wbsr::host_cuda;
  setDevices(0, cudaErrorInsufficientDriver);
  expectReason("no NVIDIA driver was found (libcuda.so.1): install NVIDIA driver 580 or newer");
  setDevices(0, cudaErrorNoDevice);
  expectReason("the NVIDIA driver (CUDA 13.0) shows no GPU");
  setenv("CUDA_VISIBLE_DEVICES", "", 1);
  expectReason("CUDA_VISIBLE_DEVICES='' hides");
  setenv("CUDA_VISIBLE_DEVICES", "7", 1);
  expectReason("CUDA_VISIBLE_DEVICES=7 hides");
  unsetenv("CUDA_VISIBLE_DEVICES");
  restart();
  failNext("cudaGetDeviceCount", cudaErrorUnknown);
  expectReason("CUDA cannot be used: cudaGetDeviceCount: cudaErrorUnknown (");
  restart();
  failNext("cudaGetDeviceProperties", cudaErrorUnknown);
  expectReason("cuda:0: cudaGetDeviceProperties: cudaErrorUnknown (");
  restart();
  failNext("cudaDeviceGetAttribute", cudaErrorUnknown);
  expectReason("cuda:0 (host CUDA): cudaDeviceGetAttribute: cudaErrorUnknown (");
  restart();
}
#endif

}  // namespace

int main() {
#ifdef WBSR_HOST_CUDA
  checkMachines();
#endif
  checkCudnnMissing();
#ifndef WBSR_HOST_CUDA
  // Found in the default places, also after an earlier search failed.
  const wbsr::FoundDevices state = findDevices();
  check(!state.devices.empty(), "a device: " + state.reason);
  for (const auto& device : state.devices) {
    check(!device.name.empty() && device.memory > 0, "its name and memory: " + device.name);
    check(contains(device.details, "cuDNN 9."), "its details: " + device.details);
  }
#endif
  return wbsr::test::finish();
}

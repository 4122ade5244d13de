// The CUDA device and what a machine has of it. Part of the plugin libwbsr_cuda.so (plugin.h).
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "cuda/conv.h"

namespace wbsr::cuda {

struct CudaOptions {
  int device = 0;
  Precision precision = Precision::Bf16;
  int autotune = 0;  // how many of cuDNN's engines are timed per convolution; 0: its heuristics' word
  const std::atomic<bool>* closing = nullptr;
};

struct CudaFacts {
  std::string name;     // NVIDIA H200
  std::string details;  // compute capability, driver, cuDNN
  int64_t memory = 0;   // bytes
};

// The usable devices, or why there are none.
struct CudaState {
  std::vector<CudaFacts> devices;
  std::string reason;
};
CudaState findDevices();

// The graph must outlive the device. Throws WBSR_NO_DEVICE, WBSR_OUT_OF_MEMORY, WBSR_DEVICE_FAILED.
std::unique_ptr<Device> makeDevice(const Graph& graph, const CudaOptions& options);

}  // namespace wbsr::cuda

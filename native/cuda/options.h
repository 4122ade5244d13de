// What the addon and the plugin tell each other about CUDA devices. Without CUDA's headers: the addon is built on
// machines that have none.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace wbsr::cuda {

enum class Precision { Bf16, Tf32, Fp32 };

struct CudaOptions {
  int device = 0;  // CudaFacts::index
  Precision precision = Precision::Bf16;
  int autotune = 0;  // how many of cuDNN's engines are timed per convolution; 0: its heuristics' word
  const std::atomic<bool>* closing = nullptr;
};

struct CudaFacts {
  int index = 0;        // CUDA's own number of the device: the N of cuda:N
  std::string name;     // NVIDIA H200
  std::string details;  // compute capability, driver, cuDNN
  int64_t memory = 0;   // bytes
};

// The usable devices, or why there are none.
struct CudaState {
  std::vector<CudaFacts> devices;
  std::string reason;
};

}  // namespace wbsr::cuda

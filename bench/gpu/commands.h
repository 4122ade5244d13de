// The parts of the contestant, one file each, and what they share.
#pragma once
#include <memory>

#include "cuda/device.h"
#include "cuda/state.h"
#include "serve.h"
#ifdef WBSR_HOST_CUDA
#include "fake_cudnn.h"
#endif

namespace wbsr::bench {

Commands inferenceCommands();
Commands trainingCommands();
Commands operatorCommands();
Commands routedCommands();

// At the start of a process. On the host cuDNN is the fake one.
inline void begin() {
#ifdef WBSR_HOST_CUDA
  host_cuda::installFakeCudnn();
#endif
}

// precision=bf16|tf32|fp32 (bf16), autotune=N (8: cuDNN's engines are timed, as PyTorch's max-autotune times its own)
inline DeviceOptions optionsOf(const Request& request) {
  DeviceOptions options;
  const std::string precision = request.text("precision", "bf16");
  options.precision = precision == "fp32" ? Precision::Fp32 : precision == "tf32" ? Precision::Tf32 : Precision::Bf16;
  options.autotune = request.number("autotune", 8);
  return options;
}

// As makeDevice finds out that there is no device, before anything is asked of it.
inline void wantDevice() {
  const FoundDevices found = cuda::findDevices();
  if (found.devices.empty()) throw Error("WBSR_NO_DEVICE", found.reason);
}

inline std::shared_ptr<cuda::State> makeState(const Graph& graph, const Request& request) {
  wantDevice();
  return std::make_shared<cuda::State>(graph, optionsOf(request));
}

}  // namespace wbsr::bench

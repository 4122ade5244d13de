// The CUDA plugin as the addon sees it: libwbsr_cuda.so beside the addon, opened when somebody first asks for CUDA, so
// that one package serves machines with and without a GPU. No JavaScript in here.
#pragma once
#include <memory>

#include "core/device.h"
#include "cuda/options.h"

namespace wbsr::bindings {

// Usable devices, or the reason why there are none: no plugin, one that cannot be opened or is of another build, or what
// the plugin itself found missing. Found out once in a process; any thread may ask.
const cuda::CudaState& cudaState();

// The graph must outlive the device. Throws WBSR_NO_DEVICE (also where options.device is none of cudaState()'s),
// WBSR_OUT_OF_MEMORY, WBSR_DEVICE_FAILED.
std::unique_ptr<Device> makeCudaDevice(const Graph& graph, const cuda::CudaOptions& options);

}  // namespace wbsr::bindings

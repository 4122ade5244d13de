// The CUDA device, and the search for usable ones. Part of the plugin libwbsr_cuda.so (plugin.h).
#pragma once
#include <memory>

#include "core/device.h"
#include "core/device_kind.h"

namespace wbsr::cuda {

// The devices that can run wbsr, or the reason why there are none: what was tried and what to do (find_devices.cc).
FoundDevices findDevices();

// The graph must outlive the device. Throws WBSR_NO_DEVICE, WBSR_OUT_OF_MEMORY, WBSR_DEVICE_FAILED.
// (wbsr::Graph: this namespace has a Graph of its own, runtime.h.)
std::unique_ptr<Device> makeDevice(const wbsr::Graph& graph, const DeviceOptions& options);

}  // namespace wbsr::cuda

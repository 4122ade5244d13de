// The interface between libwbsr_cuda.so and the addon that opens it (register.cc). C++ types and exceptions cross it,
// so both sides must come from one build. CMake sets the version: the package's version and a hash of every
// header that both compile, so that a plugin left over from another build is refused instead of crashing.
#pragma once
#include <memory>

#include "core/device.h"
#include "core/device_kind.h"

namespace wbsr::cuda {

struct Plugin {
  const char* version;  // always the first field: the only one that may be read before it is compared
  FoundDevices (*findDevices)();
  std::unique_ptr<Device> (*makeDevice)(const wbsr::Graph& graph, const DeviceOptions& options);
};

// The library's only symbol.
inline constexpr char kPluginEntry[] = "wbsrCudaPlugin";
using PluginEntry = const Plugin* (*)();

}  // namespace wbsr::cuda

// What libwbsr_cuda.so gives to the addon that opens it (register.cc). C++ crosses this border, exceptions included:
// both sides are made by one build, which the version proves. It is CMake's: the package's version and a hash of every
// header that both sides compile, so that a plugin left over from another build is refused instead of crashing.
#pragma once
#include <memory>

#include "core/device.h"
#include "core/device_kind.h"

namespace wbsr::cuda {

struct Plugin {
  const char* version;  // first for ever: the one field that may be read before it is known to match
  FoundDevices (*findDevices)();
  std::unique_ptr<Device> (*makeDevice)(const wbsr::Graph& graph, const DeviceOptions& options);
};

// The library's only symbol.
inline constexpr char kPluginEntry[] = "wbsrCudaPlugin";
using PluginEntry = const Plugin* (*)();

}  // namespace wbsr::cuda

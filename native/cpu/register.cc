// The kind 'cpu': one device, always usable.
#include <thread>

#include "core/device_kind.h"
#include "cpu/device.h"

namespace wbsr::cpu {
namespace {

const FoundDevices& find() {
  static const FoundDevices found = [] {
    const CpuInfo& info = cpuInfo();
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    return FoundDevices{
        {{0, info.name, info.isa + (int8IsFast() ? " with AMX" : "") + ", oneDNN " + info.onednn, 0, cores}}, ""};
  }();
  return found;
}

std::unique_ptr<Device> make(const Graph& graph, const DeviceOptions& options) {
  return makeDevice(graph, options.threads, options.closing, options.precision);
}

const DeviceRegistration registration({.name = "cpu",
                                       .label = "CPU",
                                       .rank = 0,
                                       .precisions = int8IsFast() ? std::vector{Precision::Fp32, Precision::Int8}
                                                                  : std::vector{Precision::Fp32},
                                       .numbered = false,
                                       .autotunes = false,
                                       .find = find,
                                       .make = make});

}  // namespace
}  // namespace wbsr::cpu

// The kinds of device that a build has. Each device folder registers its kind in native/NAME/register.cc, which is
// compiled into the addon; no other file names a kind.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/precision.h"

namespace wbsr {

// The options of every kind; a kind ignores those that its DeviceKind does not declare.
struct DeviceOptions {
  int index = 0;    // FoundDevice::index
  int threads = 1;  // of the host, for kinds that run there
  Precision precision = Precision::Bf16;
  int autotune = 0;                            // how many engines are timed per convolution; 0: the heuristics' choice
  const std::atomic<bool>* closing = nullptr;  // set: running jobs stop with WBSR_ABORTED between steps
};

// One device that can run wbsr.
struct FoundDevice {
  int index = 0;        // the driver's own number: the N of kind:N
  std::string name;     // NVIDIA H200
  std::string details;  // instruction set or compute capability, driver, library versions
  int64_t memory = 0;   // bytes of its own; 0: it uses the host's
  int threads = 0;      // host threads that it can use; 0: none
};

// The usable devices, or why there are none.
struct FoundDevices {
  std::vector<FoundDevice> devices;
  std::string reason;
};

struct DeviceKind {
  std::string name;                   // in the option `device`: cpu, cuda
  std::string label;                  // in messages: CPU, CUDA
  int rank = 0;                       // 'auto' tries kinds from the highest rank down
  std::vector<Precision> precisions;  // supported; the first is the default
  bool numbered = false;              // several devices, addressed as name:N
  bool autotunes = false;             // DeviceOptions::autotune has an effect
  std::string exchange{};             // the library of Device::exchange(), nccl; empty: there is none
  // Looks for devices once in a process. Thread-safe.
  const FoundDevices& (*find)() = nullptr;
  // The graph must outlive the device. Throws WBSR_NO_DEVICE, WBSR_OUT_OF_MEMORY, WBSR_DEVICE_FAILED.
  std::unique_ptr<Device> (*make)(const Graph& graph, const DeviceOptions& options) = nullptr;
};

// A static object of register.cc: registers the kind when the addon is loaded.
struct DeviceRegistration {
  explicit DeviceRegistration(DeviceKind kind);
};

// By rank, highest first. The last one is always usable.
const std::vector<DeviceKind>& deviceKinds();

}  // namespace wbsr

// The CPU device.
#pragma once
#include <memory>
#include <string>

#include "core/device.h"
#include "core/precision.h"

namespace wbsr::cpu {

// The graph must outlive the device. `closing` (may be null) makes running jobs stop with WBSR_ABORTED between steps.
// precision: Fp32, or Int8 where int8IsFast().
std::unique_ptr<Device> makeDevice(const Graph& graph, int threads, const std::atomic<bool>* closing,
                                   Precision precision = Precision::Fp32);

// Whether this processor has what Precision::Int8 runs on.
bool int8IsFast();

struct CpuInfo {
  std::string name;    // model name of the processor
  std::string isa;     // instruction set of our kernels: avx512, avx2, neon or base
  std::string onednn;  // version
  int lanes;
};
const CpuInfo& cpuInfo();

}  // namespace wbsr::cpu

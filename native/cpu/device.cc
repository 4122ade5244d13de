// The CPU device: its parameters and executables, and what the processor is.
#include "cpu/device.h"

#include <algorithm>
#include <fstream>

#include "core/error.h"
#include "core/precision.h"
#include "cpu/conv_primitives.h"
#include "cpu/cpu_device.h"
#include "cpu/simd/int8.h"

namespace wbsr::cpu {

CpuDevice::CpuDevice(const Graph& graph, int threads, const std::atomic<bool>* closing, Precision precision)
    : graph_(graph),
      threads_(threads),
      context_(graph, std::make_shared<WeightStore>(graph)),
      executables_(context_),
      team_(context_, executables_),
      adam_(graph),
      weights_(static_cast<size_t>(graph.parameterCount()), 0.f) {
  context_.closing = closing;
  context_.precision = precision;
  context_.weights->setMaster(weights_.data());
}

DeviceFacts CpuDevice::facts() const {
  const CpuInfo& info = cpuInfo();
  DeviceFacts facts;
  facts.kind = "cpu";
  facts.name = info.name;
  facts.details = "oneDNN " + info.onednn + ", " + info.isa;
  facts.precision = nameOf(context_.precision);
  facts.threads = threads_;
  facts.hostMemory = true;
  return facts;
}

void CpuDevice::initialise(uint64_t seed) {
  initialWeights(graph_, seed, weights_.data());
  ema_ = m_ = v_ = gradient_ = {};
  std::fill(adam_.counts.begin(), adam_.counts.end(), 0);
  halted_ = false;
  context_.weights->changed();
}

std::vector<float>& CpuDevice::arena(Arena which) {
  switch (which) {
    case Arena::Ema: return ema_;
    case Arena::M: return m_;
    case Arena::V: return v_;
    case Arena::Gradient: return gradient_;
    default: return weights_;
  }
}

void CpuDevice::setArena(Arena which, const float* values) {
  std::vector<float>& a = arena(which);
  a.assign(values, values + graph_.parameterCount());
  if (which == Arena::Gradient || which == Arena::Weights) gradientChecked_ = false;
  if (which == Arena::Weights) {
    halted_ = false;
    context_.weights->setMaster(a.data());
    context_.weights->changed();
  }
}

void CpuDevice::getArena(Arena which, float* values) {
  const std::vector<float>& a = arena(which);
  // Before the first step the average is the weights themselves, moments and gradients are zero.
  if (!a.empty())
    std::copy(a.begin(), a.end(), values);
  else if (which == Arena::Ema)
    std::copy(weights_.begin(), weights_.end(), values);
  else
    std::fill(values, values + graph_.parameterCount(), 0.f);
}

void CpuDevice::setSteps(const std::vector<int32_t>& steps) {
  WBSR_CHECK(steps.size() == adam_.counts.size());
  adam_.counts = steps;
}

int64_t CpuDevice::memory() const {
  const size_t floats = weights_.size() + ema_.size() + m_.size() + v_.size() + gradient_.size();
  int64_t bytes = static_cast<int64_t>(floats * sizeof(float)) + context_.bytes() + context_.weights->bytes();
  for (const Buffer* buffer : {&converted_, &lr_, &hr_}) bytes += buffer->bytes();
  bytes += team_.bytes();
  for (const auto& runner : runners_) bytes += runner->bytes();
  for (const RegionResult& result : results_) bytes += result.values.bytes();
  return bytes;
}

std::unique_ptr<Device> makeDevice(const Graph& graph, int threads, const std::atomic<bool>* closing,
                                   Precision precision) {
  return std::make_unique<CpuDevice>(graph, threads, closing, precision);
}

bool int8IsFast() { return simd::int8(lanesOfBlocks()) != nullptr; }

// Value of the first line of /proc/cpuinfo with that key; empty without one.
static std::string firstCpuFact(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind(key, 0) == 0) return line.substr(line.find(':') + 2);
  return "";
}

static CpuInfo readCpuInfo() {
  CpuInfo info;
  // Of 64-bit ARM, Linux tells two numbers instead of a name.
  const std::string implementer = firstCpuFact("CPU implementer"), part = firstCpuFact("CPU part");
  info.name = firstCpuFact("model name");
  if (info.name.empty() && !part.empty()) info.name = "ARM processor, implementer " + implementer + ", part " + part;
  info.lanes = lanesOfBlocks();
  info.isa = simd::kernels(info.lanes).name;
  const dnnl_version_t* version = dnnl_version();
  info.onednn =
      std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch);
  return info;
}

const CpuInfo& cpuInfo() {
  static const CpuInfo info = readCpuInfo();  // the machine does not change
  return info;
}

}  // namespace wbsr::cpu

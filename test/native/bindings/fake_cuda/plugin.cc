// A libwbsr_cuda.so without CUDA, so that everything around the real one can be tested on any machine: the loader, the
// choice of the device and what happens when one fails. Two cards (numbers 0 and 2, as if card 1 were too old) that are
// the CPU device under another name. WBSR_FAKE_CUDA makes it fail:
//   none         no card, with a reason
//   find:KIND    findDevices() throws     KIND: a code of wbsr::Error, or memory (std::bad_alloc), or
//   make:KIND    makeDevice() throws            standard (std::runtime_error)
//   forward:KIND a forward pass throws
// A device that is freed adds to the file that WBSR_FAKE_CUDA_FREED names a line: "main" if that was on the process's first
// thread, else "other".
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>

#include "core/error.h"
#include "cpu/device.h"
#include "cuda/plugin.h"

namespace wbsr::cuda {
namespace {

void failAt(const std::string& place) {
  const char* given = std::getenv("WBSR_FAKE_CUDA");
  const std::string wish = given ? given : "";
  if (wish.rfind(place + ":", 0) != 0) return;
  const std::string kind = wish.substr(place.size() + 1);
  if (kind == "memory") throw std::bad_alloc();
  if (kind == "standard") throw std::runtime_error("a failure of the fake");
  throw Error(kind, "the fake card fell off the bus");
}

// The number of the call is in the cards' details: findDevices() must be called once in a process.
FoundDevices findFakes() {
  static std::atomic<int> calls = 0;
  ++calls;
  failAt("find");
  const char* given = std::getenv("WBSR_FAKE_CUDA");
  if (given && std::string(given) == "none") return {{}, "the fake found no card"};
  const std::string details = "asked " + std::to_string(calls) + " times";
  return {{{0, "Fake A", details, int64_t{8} << 30}, {2, "Fake B", details, int64_t{16} << 30}}, ""};
}

class FakeDevice : public Device {
 public:
  FakeDevice(const wbsr::Graph& graph, const DeviceOptions& options)
      : index_(options.index), precision_(options.precision), inner_(cpu::makeDevice(graph, 1, options.closing)) {}
  ~FakeDevice() override {
    if (const char* file = std::getenv("WBSR_FAKE_CUDA_FREED"))
      std::ofstream(file, std::ios::app) << (gettid() == getpid() ? "main" : "other") << std::endl;
  }
  DeviceFacts facts() const override {
    DeviceFacts facts = inner_->facts();
    facts.kind = "cuda";
    facts.name = index_ == 0 ? "Fake A" : "Fake B";
    facts.precision = nameOf(precision_);
    facts.threads = 0;
    facts.hostMemory = false;
    return facts;
  }
  void initialise(uint64_t seed) override { inner_->initialise(seed); }
  void setArena(Arena which, const float* values) override { inner_->setArena(which, values); }
  void getArena(Arena which, float* values) override { inner_->getArena(which, values); }
  std::vector<int32_t> steps() const override { return inner_->steps(); }
  void setSteps(const std::vector<int32_t>& steps) override { inner_->setSteps(steps); }
  void forward(int subnet, const float* input, float* output, int batch, int height, int width) override {
    failAt("forward");
    inner_->forward(subnet, input, output, batch, height, width);
  }
  void route(const RouteJob& job) override { inner_->route(job); }
  std::unique_ptr<Canvas> makeCanvas(int64_t width, int64_t rows) override { return inner_->makeCanvas(width, rows); }
  InferReport infer(const InferJob& job) override { return inner_->infer(job); }
  int64_t gradients(const GradientJob& job) override { return inner_->gradients(job); }
  TrainReport waitGradients(int64_t ticket) override { return inner_->waitGradients(ticket); }
  int64_t apply(const UpdateJob& job) override { return inner_->apply(job); }
  UpdateReport waitApply(int64_t ticket) override { return inner_->waitApply(ticket); }
  int64_t memory() const override { return inner_->memory(); }

 private:
  int index_;
  Precision precision_;
  std::unique_ptr<Device> inner_;
};

std::unique_ptr<Device> makeFake(const wbsr::Graph& graph, const DeviceOptions& options) {
  failAt("make");
  return std::make_unique<FakeDevice>(graph, options);
}

}  // namespace
}  // namespace wbsr::cuda

extern "C" __attribute__((visibility("default"))) const wbsr::cuda::Plugin* wbsrCudaPlugin() {
  static const wbsr::cuda::Plugin plugin = {WBSR_PLUGIN_VERSION, wbsr::cuda::findFakes, wbsr::cuda::makeFake};
  return &plugin;
}

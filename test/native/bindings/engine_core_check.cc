// What an engine does with a device that fails, and when it frees canvases: by a device made for the purpose.
#include <cstring>
#include <string>

#include "bindings/engine_core.h"
#include "support/check.h"
#include "support/graph_builder.h"

using namespace wbsr;
using bindings::EngineCore;
using bindings::HeldCanvas;
using test::check;

namespace {

int canvases = 0, devices = 0;

struct TestCanvas : Canvas {
  TestCanvas() { ++canvases; }
  ~TestCanvas() override {
    check(devices > 0, "a canvas is gone before its device");
    --canvases;
  }
  void move(int64_t, int64_t, int64_t) override {}
  void finish(int64_t, int64_t, int, const float*, Sample, void*) override {}
  int64_t bytes() const override { return 1; }
};

struct TestDevice : Device {
  explicit TestDevice(const Graph& g) : graph(g) { ++devices; }
  ~TestDevice() override { --devices; }
  const Graph& graph;
  int calls = 0;
  std::string code;
  DeviceFacts facts() const override { return {}; }
  void initialise(uint64_t) override {
    ++calls;
    if (!code.empty()) throw Error(code, "the words of the failure " + std::to_string(calls));
  }
  void setArena(Arena, const float*) override {}
  void getArena(Arena, float*) override {}
  std::vector<int32_t> steps() const override { return {}; }
  void setSteps(const std::vector<int32_t>&) override {}
  void forward(int, const float*, float*, int, int, int) override {}
  void route(const RouteJob&) override {}
  std::unique_ptr<Canvas> makeCanvas(int64_t, int64_t) override { return std::make_unique<TestCanvas>(); }
  InferReport infer(const InferJob&) override { return {}; }
  int64_t gradients(const GradientJob&) override { return 1; }
  TrainReport waitGradients(int64_t) override { return {}; }
  int64_t apply(const UpdateJob&) override { return 1; }
  UpdateReport waitApply(int64_t) override { return {}; }
  int64_t memory() const override { return 0; }
};

Graph oneConvolution() {
  test::graphs::Builder b;
  const int out = b.conv("a", b.input(), test::graphs::fixed(3));
  return Graph(1, {8}, {1}, b.nodes, out);
}

std::string errorOf(EngineCore& core, bool beside = false) {
  try {
    const auto work = [](Device& device) { device.initialise(1); };
    if (beside)
      core.wait(work);
    else
      core.run(work);
  } catch (const Error& error) {
    return error.code + ": " + error.what();
  }
  return "";
}

void failures() {
  TestDevice* device = nullptr;
  EngineCore core(oneConvolution(), [&](const Graph& graph) {
    auto made = std::make_unique<TestDevice>(graph);
    device = made.get();
    return made;
  });
  check(&device->graph == &core.graph, "the device has the graph that stays");
  check(errorOf(core).empty() && device->calls == 1, "work runs");
  for (const char* code : {"WBSR_ABORTED", "WBSR_OUT_OF_MEMORY", "WBSR_INTERNAL"}) {
    device->code = code;
    check(errorOf(core).rfind(code, 0) == 0, code);
    core.check();
  }
  device->code = "";
  check(errorOf(core).empty(), "other errors do not stop it");
  device->code = "WBSR_DEVICE_FAILED";
  const int calls = device->calls + 1;
  check(errorOf(core) == "WBSR_DEVICE_FAILED: the words of the failure " + std::to_string(calls), "the failure itself");
  device->code = "";
  const std::string later = errorOf(core);
  check(later.rfind("WBSR_DEVICE_FAILED: The device failed and this model cannot be used any more", 0) == 0,
        "then everything fails");
  check(later.find("the words of the failure " + std::to_string(calls)) != std::string::npos,
        "with the first failure's words");
  check(device->calls == calls, "and the device is not touched again");
  errorOf(core, true);
  check(device->calls == calls + 1, "but for second parts of jobs, which give back what first parts wait for");
}

void freedCanvases() {
  auto core = std::make_shared<EngineCore>(oneConvolution(),
                                           [](const Graph& graph) { return std::make_unique<TestDevice>(graph); });
  const auto make = [&] {
    auto held = std::make_shared<HeldCanvas>();
    held->core = core;
    core->run([&](Device& device) { held->canvas = device.makeCanvas(1, 1); });
    return held;
  };
  auto one = make(), two = make(), never = std::make_shared<HeldCanvas>();
  never->core = core;
  check(canvases == 2, "made");
  one.reset();
  never.reset();
  check(canvases == 2, "not freed while a job may run");
  core->run([](Device&) { check(canvases == 1, "freed before the next job"); });
  core.reset();
  check(canvases == 1 && devices == 1, "a canvas keeps its device");
  two.reset();
  check(canvases == 0 && devices == 0, "and goes with it");
}

}  // namespace

int main() {
  try {
    failures();
    freedCanvases();
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return test::finish();
}

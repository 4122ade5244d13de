// cuda/register.cc against the plugin of fake_cuda/ that lies beside this program: what is thrown in the plugin arrives
// as what it was, a device works across the border, and many threads that ask at once get one answer.
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/device_kind.h"
#include "core/error.h"
#include "support/check.h"
#include "support/graph_builder.h"

namespace {

using wbsr::test::check;

// The registered kind of that name.
const wbsr::DeviceKind& cuda() {
  for (const wbsr::DeviceKind& kind : wbsr::deviceKinds())
    if (kind.name == "cuda") return kind;
  throw wbsr::Error("WBSR_INTERNAL", "the kind is not registered");
}

// One convolution from RGB to RGB.
wbsr::Graph smallGraph() {
  wbsr::test::graphs::Builder b;
  const int out = b.conv("a", b.input(), wbsr::test::graphs::fixed(3));
  return wbsr::Graph(1, {8}, {1}, b.nodes, out);
}

// The type of what making a device throws, with its words.
std::string thrown(const wbsr::Graph& graph, int index) {
  wbsr::DeviceOptions options;
  options.index = index;
  try {
    cuda().make(graph, options);
  } catch (const wbsr::Error& error) {
    return "Error " + error.code + ": " + error.what();
  } catch (const std::bad_alloc&) {
    return "bad_alloc";
  } catch (const std::runtime_error& error) {
    return std::string("runtime_error: ") + error.what();
  }
  return "nothing";
}

void checkEqual(const std::string& found, const std::string& wanted) {
  check(found == wanted, "found: " + found + "; wanted: " + wanted);
}

void checkThreads() {
  std::vector<const wbsr::FoundDevices*> seen(8);
  std::vector<std::thread> threads;
  for (auto& state : seen) threads.emplace_back([&state] { state = &cuda().find(); });
  for (std::thread& thread : threads) thread.join();
  for (const auto* state : seen) check(state == seen[0], "every thread gets the same state");
  const wbsr::FoundDevices& state = *seen[0];
  checkEqual(state.reason, "");
  check(state.devices.size() == 2, "two devices");
  if (state.devices.size() != 2) return;
  checkEqual(state.devices[0].name + ", " + state.devices[0].details, "Fake A, asked 1 times");
  check(state.devices[1].index == 2, "the second is card 2");
}

void checkThrown() {
  const wbsr::Graph graph = smallGraph();
  checkEqual(thrown(graph, 2), "nothing");
  checkEqual(thrown(graph, 1), "Error WBSR_NO_DEVICE: there is no usable CUDA device 1, only 0 (Fake A), 2 (Fake B)");
  for (const char* code : {"WBSR_OUT_OF_MEMORY", "WBSR_DEVICE_FAILED"}) {
    setenv("WBSR_FAKE_CUDA", (std::string("make:") + code).c_str(), 1);
    checkEqual(thrown(graph, 0), std::string("Error ") + code + ": the fake card fell off the bus");
  }
  setenv("WBSR_FAKE_CUDA", "make:memory", 1);
  checkEqual(thrown(graph, 0), "bad_alloc");
  setenv("WBSR_FAKE_CUDA", "make:standard", 1);
  checkEqual(thrown(graph, 0), "runtime_error: a failure of the fake");
  unsetenv("WBSR_FAKE_CUDA");
}

// Also what a device throws later, out of a call of its own.
void checkDevice() {
  const wbsr::Graph graph = smallGraph();
  const auto device = cuda().make(graph, {});
  checkEqual(device->facts().kind + ", " + device->facts().name, "cuda, Fake A");
  std::vector<float> weights(static_cast<size_t>(graph.parameterCount()), 0.f);
  for (int c = 0; c < 3; ++c)
    weights[static_cast<size_t>(c * 3 * 9 + c * 9 + 4)] = 2.f;  // the centre of channel c to c
  device->setArena(wbsr::Arena::Weights, weights.data());
  std::vector<float> in(3 * 5 * 7), out(in.size());
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
  device->forward(0, in.data(), out.data(), 1, 5, 7);
  bool doubled = true;
  for (size_t i = 0; i < in.size(); ++i) doubled = doubled && out[i] == 2 * in[i];
  check(doubled, "the convolution doubles");
  setenv("WBSR_FAKE_CUDA", "forward:WBSR_DEVICE_FAILED", 1);
  std::string code = "nothing";
  try {
    device->forward(0, in.data(), out.data(), 1, 5, 7);
  } catch (const wbsr::Error& error) {
    code = error.code;
  }
  checkEqual(code, "WBSR_DEVICE_FAILED");
  unsetenv("WBSR_FAKE_CUDA");
}

}  // namespace

int main() {
  unsetenv("WBSR_FAKE_CUDA");
  checkThreads();
  checkThrown();
  checkDevice();
  return wbsr::test::finish();
}

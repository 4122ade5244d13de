// Gradients of micro-batches that are summed on the CUDA device, and travel between two of them: the sums of the host to the
// bit, and what ends a connection. With the real NCCL the part with two devices needs two GPUs.
#include <cstdlib>
#include <thread>

#include "cuda/exchange/nccl_api.h"
#include "support/cuda_device.h"
#ifdef WBSR_HOST_CUDA
#include "fake_nccl.h"
#endif

using namespace wbsr;
using namespace wbsr::test;

namespace {

const Graph& graph() {
  static const Graph one = graphs::srresnet(2, {8, 16}, {1, 2});
  return one;
}

std::unique_ptr<Device> deviceAt(int index) {
  DeviceOptions options;
  options.index = index;
  auto device = cuda::makeDevice(graph(), options);
  device->initialise(1);
  return device;
}

std::vector<float> gradientOf(Device& device) {
  std::vector<float> values(static_cast<size_t>(graph().parameterCount()));
  device.getArena(Arena::Gradient, values.data());
  return values;
}

std::vector<float> someGradient(uint64_t seed) {
  return noise(static_cast<size_t>(graph().parameterCount()), seed, -1, 1);
}

void sumsAreThoseOfTheHost(const std::string& name) {
  const auto device = deviceAt(0);
  GradientExchange& exchange = *device->exchange();
  std::vector<float> expected = someGradient(1);
  device->setArena(Arena::Gradient, expected.data());
  exchange.hold(0);
  for (uint64_t seed : {2, 3}) {
    const std::vector<float> other = someGradient(seed);
    device->setArena(Arena::Gradient, other.data());
    exchange.hold(5);
    exchange.add(0, 5);
    for (size_t i = 0; i < expected.size(); ++i) expected[i] += other[i];
  }
  for (float& value : expected) value *= 0.1f;
  exchange.use(0, 0.1f);
  check(sameBits(gradientOf(*device), expected), name + ": the sum of three, times a factor");
  // The gradient is new to the device, which looks whether it is finite.
  const std::vector<float> broken(expected.size(), INFINITY);
  device->setArena(Arena::Gradient, broken.data());
  exchange.hold(1);
  device->setArena(Arena::Gradient, expected.data());
  exchange.use(1, 1.f);
  UpdateJob update{{0}, {1e-3f, 0.9f, 0.999f, 1e-8f, 0.f, 0.f}};
  check(!device->waitApply(device->apply(update)).finite, name + ": a sum that is not finite updates nothing");
}

void whatIsMissingIsNamed() {
  cuda::nccl::install(nullptr);
  setenv("WBSR_NCCL_PATH", "/nowhere/libnccl.so.2", 1);
  const auto device = deviceAt(0);
  std::string message;
  try {
    device->exchange()->makeId();
  } catch (const Error& error) {
    message = error.code + " " + error.what();
  }
  check(message.find("WBSR_NO_DEVICE NCCL was not found: /nowhere/libnccl.so.2") == 0, "without NCCL: " + message);
  // A library that is there but is not NCCL.
  setenv("WBSR_NCCL_PATH", "libm.so.6", 1);
  const std::string tried = cuda::nccl::open();
  check(tried.find("libm.so.6: it has no ncclGetVersion") != std::string::npos, "not NCCL: " + tried);
  unsetenv("WBSR_NCCL_PATH");
}

#ifdef WBSR_HOST_CUDA

// rank(r, device) on two threads, as on two processes.
template <typename F>
void onTwoRanks(F&& rank) {
  const auto first = deviceAt(0), second = deviceAt(1);
  const std::vector<char> id = first->exchange()->makeId();
  std::thread other([&] { rank(1, *second, id); });
  rank(0, *first, id);
  other.join();
}

void gradientsTravel(const std::string& name) {
  onTwoRanks([&](int rank, Device& device, const std::vector<char>& id) {
    GradientExchange& exchange = *device.exchange();
    exchange.connect(id, rank, 2, nullptr);
    for (uint64_t round = 0; round < 3; ++round) {
      const std::vector<float> own = someGradient(10 * round + static_cast<uint64_t>(rank)),
                               other = someGradient(10 * round + static_cast<uint64_t>(1 - rank));
      device.setArena(Arena::Gradient, own.data());
      exchange.hold(0);
      if (rank == 1) {
        exchange.send(0, 0, nullptr);
        exchange.receive(1, 0, nullptr);
      } else {
        exchange.receive(1, 1, nullptr);
        exchange.send(0, 1, nullptr);
      }
      exchange.use(1, 1.f);
      check(sameBits(gradientOf(device), other), name + ": what rank " + std::to_string(rank) + " received");
    }
  });
}

void connectionsEnd() {
  // Rank 0 gives up; rank 1 hears that it is gone, and its device works on.
  onTwoRanks([](int rank, Device& device, const std::vector<char>& id) {
    GradientExchange& exchange = *device.exchange();
    exchange.connect(id, rank, 2, nullptr);
    const std::vector<float> own = someGradient(1);
    device.setArena(Arena::Gradient, own.data());
    if (rank == 0) {
      int32_t cancel = 0;
      std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        __atomic_store_n(&cancel, 1, __ATOMIC_RELAXED);
      });
      check(errorOf([&] { exchange.receive(0, 1, &cancel); }) == "WBSR_ABORTED", "a receive that is cancelled");
      later.join();
    } else {
      check(errorOf([&] { exchange.receive(0, 0, nullptr); }) == "WBSR_RANK_FAILED", "the other rank has left");
      check(errorOf([&] { exchange.send(0, 0, nullptr); }) == "WBSR_RANK_FAILED", "the connection is over");
    }
    check(sameBits(gradientOf(device), own), "the device can be used");
  });
  // Alone, and two ranks on one device.
  const auto device = deviceAt(0), again = deviceAt(0);
  const int32_t cancel = 1;
  const std::vector<char> id = device->exchange()->makeId();
  check(errorOf([&] { device->exchange()->connect(id, 0, 2, &cancel); }) == "WBSR_ABORTED", "nobody else comes");
  const std::vector<char> shared = device->exchange()->makeId();
  std::thread other([&] {
    check(errorOf([&] { again->exchange()->connect(shared, 1, 2, nullptr); }) == "WBSR_NO_DEVICE",
          "one device, rank 1");
  });
  check(errorOf([&] { device->exchange()->connect(shared, 0, 2, nullptr); }) == "WBSR_NO_DEVICE", "one device, rank 0");
  other.join();
}

#endif

}  // namespace

int main() {
  prepareDevice();
#ifdef WBSR_HOST_CUDA
  using host_cuda::Mode;
  const std::pair<Mode, const char*> modes[] = {
      {Mode::Immediate, "immediate"}, {Mode::Deferred, "deferred"}, {Mode::DeferredAhead, "ahead"}};
  for (const auto& [mode, name] : modes) {
    host_cuda::restart();
    host_cuda::setDevices(2);
    host_cuda::installFakeNccl();
    host_cuda::setMode(mode);
    sumsAreThoseOfTheHost(name);
    gradientsTravel(name);
  }
  host_cuda::restart();
  host_cuda::setDevices(2);
  connectionsEnd();
#else
  sumsAreThoseOfTheHost("device");
#endif
  whatIsMissingIsNamed();
  return finish();
}

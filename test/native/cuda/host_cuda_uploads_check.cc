// Pictures on their way to the host's CUDA: the stream and the memory of their own that uploads and routing have, and what a
// failure on one thread leaves to the capture of another.
#include <cstdio>
#include <thread>

#include "cuda/state.h"
#include "support/cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

// Routing waits for no network that runs, each row of a picture is copied once, and a picture's memory is not overwritten
// before the network has read it.
void picturesTravelOnce() {
  const Graph graph = srresnet(2, {8}, {1});
  const int width = 19, height = 24, rowBytes = width * 3;
  std::vector<std::vector<uint8_t>> pixels;
  for (uint64_t seed = 1; seed <= 4; ++seed) pixels.push_back(bytes(static_cast<size_t>(rowBytes) * height, seed));
  // Rows [top, bottom) of picture n as a job of their own.
  const auto jobOf = [&](size_t n, int top, int bottom, Canvas* canvas, bool kept) {
    InferJob job;
    job.pictures.push_back(
        {View{pixels[n].data() + top * rowBytes, Sample::U8, width, bottom - top, 3}, canvas, nullptr, nullptr});
    if (kept) job.pictures[0].origin = {n + 1, top, height};
    job.regions = tileRegions(graph, 0, width, bottom - top, 8, 3);
    job.maxBatchPixels = 1000;
    return job;
  };
  const auto uploadedBy = [](auto&& work) {
    const uint64_t before = host_cuda::uploaded();
    work();
    return host_cuda::uploaded() - before;
  };
  {
    host_cuda::setMode(host_cuda::Mode::Deferred);
    const Pair pair = makePair(graph, Precision::Bf16, 4);
    Device& device = *pair.cuda;
    const auto canvas = device.makeCanvas(2 * width, 2 * height);
    canvas->move(0, 0, 2 * height);
    InferReport report;
    const int64_t ticket = device.submitInfer(jobOf(0, 0, height, canvas.get(), true), report);
    std::vector<double> difficulties(9), expected(9);
    RouteJob job;
    job.pixels = {pixels[0].data(), Sample::U8, width, height, 3};
    job.origin = {1, 0, height};
    job.tile = 8;
    job.difficulties = difficulties.data();
    const uint64_t before = host_cuda::launches();
    check(uploadedBy([&] { device.route(job); }) == 0, "a picture that is there is not copied again to be routed");
    check(host_cuda::launches() == before + 1,
          "the router alone has run: " + std::to_string(host_cuda::launches() - before) + " kernels");
    device.waitInfer(ticket, report);
    job.origin = {};
    job.difficulties = expected.data();
    check(uploadedBy([&] { device.route(job); }) == pixels[0].size() && difficulties == expected,
          "one of no number is, with the same result");
    const auto bands = [&](bool kept) {
      return uploadedBy([&] {
        for (const auto& [top, bottom] : {std::pair{0, 14}, std::pair{8, height}}) {
          InferReport band;
          canvas->move(0, 0, 2 * (bottom - top));
          device.waitInfer(device.submitInfer(jobOf(1, top, bottom, canvas.get(), kept), band), band);
        }
      });
    };
    const uint64_t each = bands(false), once = bands(true);
    check(each - once == static_cast<uint64_t>(6 * rowBytes),
          "rows that two bands share are copied once: " + std::to_string(each - once));
    check(bands(true) + pixels[1].size() == once, "and not for a third job");
    host_cuda::setMode(host_cuda::Mode::Immediate);
  }
  // More pictures than are kept, two jobs in flight.
  std::vector<std::vector<uint8_t>> expected;
  for (const auto mode : {host_cuda::Mode::Immediate, host_cuda::Mode::Deferred, host_cuda::Mode::DeferredAhead}) {
    host_cuda::setMode(mode);
    const Pair pair = makePair(graph, Precision::Bf16, 4);
    Device& device = *pair.cuda;
    std::vector<std::vector<uint8_t>> results;
    std::vector<std::unique_ptr<Canvas>> canvases;
    int64_t last = -1;
    InferReport report;
    for (const size_t n : {0, 1, 2, 3, 0, 1}) {
      canvases.push_back(device.makeCanvas(2 * width, 2 * height));
      canvases.back()->move(0, 0, 2 * height);
      const int64_t ticket =
          device.submitInfer(jobOf(n, 0, height, canvases.back().get(), mode != host_cuda::Mode::Immediate), report);
      if (last >= 0) device.waitInfer(last, report);
      last = ticket;
    }
    device.waitInfer(last, report);
    for (const auto& canvas : canvases) {
      results.emplace_back(pixels[0].size() * 4);
      canvas->finish(0, 2 * height, 3, nullptr, Sample::U8, results.back().data());
    }
    canvases.clear();
    host_cuda::setMode(host_cuda::Mode::Immediate);
    if (expected.empty())
      expected = results;
    else
      check(results == expected, "pictures whose memory is used again");
  }
}

// A failure on one thread leaves a capture of another one alone, and is not taken for a broken process.
void failuresBesideCaptures() {
  const Graph graph = srresnet(2, {8}, {1});
  const auto state = std::make_shared<cuda::State>(graph, DeviceOptions{});
  cuda::Graph captured;
  std::string failure;
  captured.capture(state->context->stream, [&] {
    std::thread([&] {
      failure = errorOf([&] { state->guard([] { throw Error("WBSR_DEVICE_FAILED", "an execution failed"); }); });
    }).join();
  });
  check(failure == "WBSR_DEVICE_FAILED" && captured.captured(), "a failure beside a capture: " + failure);
  failure.clear();
  try {
    state->guard([] {});
  } catch (const Error& error) {
    failure = error.what();
  }
  check(failure.find("an execution failed") != std::string::npos && failure.find("restart") == std::string::npos,
        "is reported as what it is: " + failure);
}

// Groups of regions of any number run in batches that grids can have.
void batchesOfGrids() {
  check(cuda::batchSize(1) == 1 && cuda::batchSize(63) == 16 && cuda::batchSize(64) == 64, "powers of four");
  check(cuda::batchSize(int64_t{1} << 40) == 16384, "at most 65535 tiles");
}

}  // namespace

int main() {
  try {
    prepareDevice();
    picturesTravelOnce();
    failuresBesideCaptures();
    batchesOfGrids();
    check(host_cuda::live().none(), "nothing stays behind: " + host_cuda::live().text());
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

// The CUDA device as the bindings use it: routing and inference against the CPU device, aborts, several models, and that
// nothing stays behind. Full memory and failures: host_cuda_device_check.cc.
#include <cstdio>
#include <thread>

#include "support/cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

#ifdef WBSR_HOST_CUDA
constexpr bool onHost = true;
#else
constexpr bool onHost = false;
#endif

void inferenceAgrees() {
  for (int scale : {2, 3}) {
    const Graph graph = srresnet(scale, {8, 16}, {1, 2});
    const Pair pair = makePair(graph, Precision::Fp32, 9);
    for (int channels : {1, 2, 3, 4}) {
      const int w = 27, h = 21;
      const std::vector<uint8_t> pixels = bytes(static_cast<size_t>(w) * h * channels, 5);
      const View view{pixels.data(), Sample::U8, w, h, channels};
      std::vector<Region> regions = tileRegions(graph, 0, w, h, 8, 4);
      InferReport report, cpuReport;
      const std::vector<uint8_t> expected = upscaled(*pair.cpu, graph, view, regions, 1000, &cpuReport),
                                 actual = upscaled(*pair.cuda, graph, view, regions, 1000, &report);
      const std::string what = "inference x" + std::to_string(scale) + ", " + std::to_string(channels) + " channels";
      check(largestDifference(actual, expected) <= 1,
            what + ": " + std::to_string(largestDifference(actual, expected)));
      check(report.flops >= cpuReport.flops && report.flops < 1.5 * cpuReport.flops, what + ", operations");
      // The order of regions changes no bit; nor does the size of batches, but that cuDNN may take another engine for it.
      for (int64_t batchPixels : {int64_t{1000}, int64_t{1}, int64_t{100000}}) {
        std::reverse(regions.begin(), regions.end());
        const int apart = largestDifference(upscaled(*pair.cuda, graph, view, regions, batchPixels), actual);
        check(apart <= (onHost || batchPixels == 1000 ? 0 : 1),
              what + ": the same pixels in any batch: " + std::to_string(apart));
      }
    }
  }
}

// Host arrays of sums, several pictures of other types in one job.
void hostSumsAgree() {
  const Graph graph = srresnet(2, {8}, {1});
  const Pair pair = makePair(graph, Precision::Fp32, 4);
  const std::vector<float> one = noise(11 * 9 * 3, 2);
  const std::vector<uint8_t> eight = bytes(13 * 8 * 3, 3);
  std::vector<uint16_t> sixteen(7 * 7);
  for (size_t i = 0; i < sixteen.size(); ++i) sixteen[i] = static_cast<uint16_t>(i * 1337);
  const std::vector<View> views{{one.data(), Sample::F32, 11, 9, 3},
                                {eight.data(), Sample::U8, 13, 8, 3},
                                {sixteen.data(), Sample::U16, 7, 7, 1}};
  const auto run = [&](Device& device) {
    std::vector<std::vector<float>> sums, weights;
    for (const View& v : views) {
      sums.emplace_back(static_cast<size_t>(v.width) * v.height * 12, 0.25f);  // what is there is added to
      weights.emplace_back(static_cast<size_t>(v.width) * v.height * 4, 0.25f);
    }
    InferJob job;
    for (size_t i = 0; i < views.size(); ++i) {
      job.pictures.push_back({views[i], nullptr, sums[i].data(), weights[i].data()});
      for (const Region& r : tileRegions(graph, static_cast<int>(i), views[i].width, views[i].height, 7, 3))
        job.regions.push_back(r);
    }
    job.maxBatchPixels = 5000;
    device.infer(job);
    std::vector<float> all;
    for (size_t i = 0; i < views.size(); ++i) {
      all.insert(all.end(), sums[i].begin(), sums[i].end());
      all.insert(all.end(), weights[i].begin(), weights[i].end());
    }
    return all;
  };
  const double error = gap(run(*pair.cuda), run(*pair.cpu));
  check(error < 2e-5, "sums in host arrays: " + std::to_string(error));
}

// Rows kept from one band to the next.
void canvasMoves() {
  const Graph graph = srresnet(2, {8}, {1});
  const Pair pair = makePair(graph, Precision::Fp32, 4);
  const std::vector<uint8_t> pixels = bytes(9 * 12 * 3, 8);
  for (int kept : {0, 5, 14}) {  // 14 of 24 rows from row 4 on overlap themselves
    std::vector<std::vector<uint8_t>> results;
    for (Device* device : {pair.cpu.get(), pair.cuda.get()}) {
      const auto canvas = device->makeCanvas(18, 24);
      InferJob job;
      job.pictures.push_back({View{pixels.data(), Sample::U8, 9, 12, 3}, canvas.get(), nullptr, nullptr});
      job.regions = tileRegions(graph, 0, 9, 12, 5, 3);
      job.maxBatchPixels = 1000;
      canvas->move(0, 0, 24);
      device->infer(job);
      canvas->move(4, kept, 24);
      if (kept < 14) device->infer(job);  // adds to what was kept
      std::vector<uint8_t> out(static_cast<size_t>(18) * std::max(kept, 1) * 3);
      canvas->finish(0, std::max(kept, kept < 14 ? 1 : 0), 3, nullptr, Sample::U8, out.data());
      results.push_back(out);
    }
    check(largestDifference(results[1], results[0]) <= 1, "a canvas that keeps " + std::to_string(kept) + " rows");
  }
}

void routingAgrees() {
  const Graph graph = srresnet(2, {8, 16}, {1, 2});
  const Pair pair = makePair(graph, Precision::Fp32, 4);
  std::vector<uint8_t> pixels = bytes(50 * 37 * 3, 12);
  for (size_t i = 0; i < pixels.size() / 2; ++i)
    pixels[i] = static_cast<uint8_t>(100 + pixels[i] / 16);  // a smooth part
  for (int tile : {1, 8, 13, 64}) {
    const size_t tiles = static_cast<size_t>((50 + tile - 1) / tile) * static_cast<size_t>((37 + tile - 1) / tile);
    std::vector<double> difficulty[2];
    std::vector<int32_t> classes[2];
    int n = 0;
    for (Device* device : {pair.cpu.get(), pair.cuda.get()}) {
      difficulty[n].resize(tiles);
      classes[n].resize(tiles);
      RouteJob job;
      job.pixels = {pixels.data(), Sample::U8, 50, 37, 3};
      job.tile = tile;
      job.thresholds = {0.01, 0.02, 0.05, 0.1, 0.15, 0.2};
      job.difficulties = difficulty[n].data();
      job.classes = classes[n].data();
      device->route(job);
      ++n;
    }
    for (size_t i = 0; i < tiles; ++i) {
      check(std::fabs(difficulty[0][i] - difficulty[1][i]) < 1e-6, "difficulty of tile " + std::to_string(i));
      check(classes[0][i] == classes[1][i], "class of tile " + std::to_string(i) + " of size " + std::to_string(tile));
    }
  }
}

void abortsAndRefuses() {
  const Graph graph = srresnet(2, {8}, {1});
  const Pair pair = makePair(graph, Precision::Bf16, 4);
  Device& device = *pair.cuda;
  const std::vector<float> lr = noise(3 * 5 * 5, 1), hr = noise(3 * 100, 2);
  volatile int32_t cancel = 1;
  std::vector<float> before(static_cast<size_t>(graph.parameterCount())), after(before.size());
  device.getArena(Arena::Weights, before.data());
  TrainJob job = stepJob(lr, hr, 1, 5, 5, {0});
  job.cancel = &cancel;
  check(errorOf([&] { device.train(job); }) == "WBSR_ABORTED", "an aborted step");
  device.getArena(Arena::Weights, after.data());
  check(sameBits(before, after), "changes nothing");
  const std::vector<uint8_t> pixels = bytes(10 * 10 * 3, 1);
  const auto canvas = device.makeCanvas(20, 20);
  InferJob infer;
  infer.pictures.push_back({View{pixels.data(), Sample::U8, 10, 10, 3}, canvas.get(), nullptr, nullptr});
  infer.regions = tileRegions(graph, 0, 10, 10, 5, 2);
  infer.cancel = &cancel;
  check(errorOf([&] { device.infer(infer); }) == "WBSR_ABORTED", "an aborted picture");
  cancel = 0;
  check(errorOf([&] { device.infer(infer); }) == "none", "and the device goes on");
  const Pair other = makePair(graph, Precision::Bf16, 4);
  check(errorOf([&] { other.cuda->infer(infer); }) == "WBSR_INVALID_OPTION", "the canvas of another model is refused");
}

// Two models on one device, each on a thread of its own, give what each gives alone; a canvas may outlive its device.
void modelsShareTheDevice() {
  const Graph graph = srresnet(2, {8}, {1});
  const std::vector<float> input = noise(3 * 9 * 7, 6);
  std::vector<std::vector<float>> alone, together(2);
  for (uint64_t seed : {1, 2}) {
    const Pair pair = makePair(graph, Precision::Bf16, seed);
    alone.emplace_back(input.size() * 4);
    pair.cuda->forward(0, input.data(), alone.back().data(), 1, 9, 7);
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&, i] {
      const auto device =
          makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, static_cast<uint64_t>(i) + 1)));
      together[static_cast<size_t>(i)].resize(input.size() * 4);
      for (int run = 0; run < 4; ++run)
        device->forward(0, input.data(), together[static_cast<size_t>(i)].data(), 1, 9, 7);
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 2; ++i) check(sameBits(together[i], alone[i]), "two models at a time");

#ifdef WBSR_HOST_CUDA
  // While one captures, the other launches: programs of many shapes, each of which is launched, captured and replayed.
  std::vector<std::string> failures(2);
  threads.clear();
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&, i] {
      std::string& failure = failures[static_cast<size_t>(i)];
      try {
        const auto device = makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, 1)));
        std::vector<float> small(3 * 4 * 40), large(small.size() * 4);
        for (int width = 1; width <= 40; ++width)
          for (int run = 0; run < 3; ++run) device->forward(0, small.data(), large.data(), 1, 4, width);
        if (device->facts().details.find("without CUDA graph") != std::string::npos) failure = device->facts().details;
      } catch (const std::exception& error) {
        failure = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures)
    check(failure.empty(), "captures beside another model's runs: " + failure);
#endif

  auto device = makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, 1)));
  auto canvas = device->makeCanvas(8, 8);
  device.reset();
  canvas.reset();
}

#ifdef WBSR_HOST_CUDA
// A capture that fails is tried three times, changes no result, and is reported.
void capturesGiveUp() {
  const Graph graph = srresnet(2, {8}, {1});
  const auto device = makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, 1)));
  const std::vector<float> input = noise(3 * 9 * 7, 6);
  std::vector<float> first(input.size() * 4), again(first.size());
  const auto told = [&] { return device->facts().details.find("1 programs without CUDA graph") != std::string::npos; };
  device->forward(0, input.data(), first.data(), 1, 9, 7);
  const size_t graphs = host_cuda::live().graphs;
  for (int run = 0; run < 3; ++run) {
    check(!told(), "a program may yet be captured");
    host_cuda::failNext("cudaStreamBeginCapture", cudaErrorUnknown);
    device->forward(0, input.data(), again.data(), 1, 9, 7);
    check(sameBits(again, first), "a run whose capture fails");
  }
  check(told(), "a program that is not captured: " + device->facts().details);
  for (int run = 0; run < 2; ++run) {
    device->forward(0, input.data(), again.data(), 1, 9, 7);
    check(sameBits(again, first) && host_cuda::live().graphs == graphs, "is launched step by step");
  }
}
#endif

}  // namespace

int main() {
  try {
    prepareDevice();
    inferenceAgrees();
    hostSumsAgree();
    canvasMoves();
    routingAgrees();
    abortsAndRefuses();
    modelsShareTheDevice();
#ifdef WBSR_HOST_CUDA
    capturesGiveUp();
    check(host_cuda::live().none(), "nothing stays behind: " + host_cuda::live().text());
#endif
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

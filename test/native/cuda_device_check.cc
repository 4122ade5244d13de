// The CUDA device as the bindings use it: routing and inference against the CPU device, full memory, failures, aborts,
// several models, and that nothing stays behind.
#include <cstdio>
#include <thread>

#include "cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;
using cuda::Precision;

namespace {

std::vector<uint8_t> bytes(size_t count, uint64_t seed) {
  Random random{seed};
  std::vector<uint8_t> out(count);
  for (uint8_t& v : out) v = static_cast<uint8_t>((random.next() * 0.5 + 0.5) * 255.99);
  return out;
}

// One picture through infer() and a canvas: pixels out.
std::vector<uint8_t> upscaled(Device& device, const Graph& graph, const View& view, const std::vector<Region>& regions, int64_t batchPixels, InferReport* report = nullptr) {
  const int64_t width = int64_t{view.width} * graph.scale(), rows = int64_t{view.height} * graph.scale();
  const auto canvas = device.makeCanvas(width, rows + 3);
  canvas->move(0, 0, rows);
  InferJob job;
  job.pictures.push_back({view, canvas.get(), nullptr, nullptr});
  job.regions = regions;
  job.maxBatchPixels = batchPixels;
  const InferReport made = device.infer(job);
  if (report) *report = made;
  std::vector<uint8_t> out(static_cast<size_t>(width * rows) * static_cast<size_t>(view.channels));
  const int channels = view.channels;
  std::vector<float> alpha(static_cast<size_t>(width * rows), 0.75f);
  canvas->finish(0, rows, channels, channels == 2 || channels == 4 ? alpha.data() : nullptr, Sample::U8, out.data());
  return out;
}

int largestDifference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int worst = a.size() == b.size() ? 0 : 256;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, std::abs(int{a[i]} - int{b[i]}));
  return worst;
}

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
      const std::vector<uint8_t> expected = upscaled(*pair.cpu, graph, view, regions, 1000, &cpuReport), actual = upscaled(*pair.cuda, graph, view, regions, 1000, &report);
      const std::string what = "inference x" + std::to_string(scale) + ", " + std::to_string(channels) + " channels";
      check(largestDifference(actual, expected) <= 1, what + ": " + std::to_string(largestDifference(actual, expected)));
      check(report.flops >= cpuReport.flops && report.flops < 1.5 * cpuReport.flops, what + ", operations");
      // Neither the size of batches nor the order of regions changes a bit.
      for (int64_t batchPixels : {int64_t{1}, int64_t{100000}}) {
        std::reverse(regions.begin(), regions.end());
        check(upscaled(*pair.cuda, graph, view, regions, batchPixels) == actual, what + ": the same bits in any batch");
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
  const std::vector<View> views{{one.data(), Sample::F32, 11, 9, 3}, {eight.data(), Sample::U8, 13, 8, 3}, {sixteen.data(), Sample::U16, 7, 7, 1}};
  const auto run = [&](Device& device) {
    std::vector<std::vector<float>> sums, weights;
    for (const View& v : views) {
      sums.emplace_back(static_cast<size_t>(v.width) * v.height * 12, 0.25f);  // what is there is added to
      weights.emplace_back(static_cast<size_t>(v.width) * v.height * 4, 0.25f);
    }
    InferJob job;
    for (size_t i = 0; i < views.size(); ++i) {
      job.pictures.push_back({views[i], nullptr, sums[i].data(), weights[i].data()});
      for (const Region& r : tileRegions(graph, static_cast<int>(i), views[i].width, views[i].height, 7, 3)) job.regions.push_back(r);
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
  for (size_t i = 0; i < pixels.size() / 2; ++i) pixels[i] = static_cast<uint8_t>(100 + pixels[i] / 16);  // a smooth part
  for (int tile : {1, 8, 13, 64}) {
    const size_t tiles = static_cast<size_t>((50 + tile - 1) / tile) * static_cast<size_t>((37 + tile - 1) / tile);
    std::vector<double> difficulty[2];
    std::vector<int32_t> classes[2], subnets[2];
    int n = 0;
    for (Device* device : {pair.cpu.get(), pair.cuda.get()}) {
      difficulty[n].resize(tiles);
      classes[n].resize(tiles);
      subnets[n].resize(tiles);
      RouteJob job;
      job.pixels = {pixels.data(), Sample::U8, 50, 37, 3};
      job.tile = tile;
      job.thresholds = {0.01, 0.02, 0.05, 0.1, 0.15, 0.2};
      job.map = {0, 0, 1, 1, 2, 3, 3};
      job.difficulties = difficulty[n].data();
      job.classes = classes[n].data();
      job.subnets = subnets[n].data();
      device->route(job);
      ++n;
    }
    for (size_t i = 0; i < tiles; ++i) {
      check(std::fabs(difficulty[0][i] - difficulty[1][i]) < 1e-6, "difficulty of tile " + std::to_string(i));
      check(classes[0][i] == classes[1][i] && subnets[0][i] == subnets[1][i], "class of tile " + std::to_string(i) + " of size " + std::to_string(tile));
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
      const auto device = makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, static_cast<uint64_t>(i) + 1)));
      together[static_cast<size_t>(i)].resize(input.size() * 4);
      for (int run = 0; run < 4; ++run) device->forward(0, input.data(), together[static_cast<size_t>(i)].data(), 1, 9, 7);
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 2; ++i) check(sameBits(together[i], alone[i]), "two models at a time");

  auto device = makeCuda(graph, Precision::Bf16, toFloat(randomParameters(graph, 1)));
  auto canvas = device->makeCanvas(8, 8);
  device.reset();
  canvas.reset();
}

#ifdef WBSR_HOST_CUDA

// As a device whose memory fills up: batches are halved, the result is the same; below one region it is an error that
// leaves the device usable.
void fullMemory() {
  const Graph graph = srresnet(2, {16}, {2});
  const Pair pair = makePair(graph, Precision::Bf16, 4);
  Device& device = *pair.cuda;
  const std::vector<uint8_t> pixels = bytes(64 * 64 * 3, 1);
  const View view{pixels.data(), Sample::U8, 64, 64, 3};
  const std::vector<Region> regions = tileRegions(graph, 0, 64, 64, 16, 4);
  const size_t idle = host_cuda::live().bytes;
  const std::vector<uint8_t> expected = upscaled(device, graph, view, regions, 100000);
  const size_t full = host_cuda::live().bytes;
  check(full > idle, "memory is taken");
  int halvings = 0;
  for (int part : {2, 3, 4, 6, 8}) {
    const Pair small = makePair(graph, Precision::Bf16, 4);
    host_cuda::setMemoryLimit(host_cuda::live().bytes + (full - idle) / static_cast<size_t>(part));
    InferReport report;
    const std::string error = errorOf([&] { check(upscaled(*small.cuda, graph, view, regions, 100000, &report) == expected, "halved batches give the same bits"); });
    check(error == "none" || error == "WBSR_OUT_OF_MEMORY", "full memory: " + error);
    halvings += report.halvings;
    host_cuda::setMemoryLimit(0);
    check(upscaled(*small.cuda, graph, view, regions, 100000) == expected, "after full memory the device goes on");
  }
  check(halvings > 0, "some batch was halved");

  const std::vector<float> lr = noise(8 * 3 * 12 * 12, 1), hr = noise(lr.size() * 4, 2);
  const TrainJob job = stepJob(lr, hr, 8, 12, 12, {0});
  const auto weightsAfter = [&](size_t room, int* parts) {
    const Pair fresh = makePair(graph, Precision::Fp32, 4);
    if (room > 0) host_cuda::setMemoryLimit(host_cuda::live().bytes + room);
    std::vector<float> weights(static_cast<size_t>(graph.parameterCount()));
    const std::string error = errorOf([&] {
      for (int i = 0; i < 2; ++i) *parts = std::max(*parts, fresh.cuda->train(job).parts);
    });
    host_cuda::setMemoryLimit(0);
    if (error != "none") {
      check(error == "WBSR_OUT_OF_MEMORY", "training with full memory: " + error);
      check(errorOf([&] { fresh.cuda->train(job); }) == "none", "goes on with room again");
      return std::vector<float>();
    }
    fresh.cuda->getArena(Arena::Weights, weights.data());
    return weights;
  };
  int whole = 1, most = 1;
  const size_t before = host_cuda::live().bytes;
  const std::vector<float> reference = weightsAfter(0, &whole);
  check(whole == 1, "one part where there is room");
  (void)before;
  for (size_t room : {size_t{200} << 10, size_t{400} << 10, size_t{800} << 10, size_t{1200} << 10, size_t{1600} << 10}) {
    int parts = 1;
    const std::vector<float> weights = weightsAfter(room, &parts);
    most = std::max(most, parts);
    if (!weights.empty()) check(gap(weights, reference) < 1e-4, "a batch in " + std::to_string(parts) + " parts trains alike: " + std::to_string(gap(weights, reference)));
  }
  check(most > 1, "some batch was cut into parts");
}

// Any call may fail: the model says so and stays unusable, others live on, and everything can be given back.
void failuresAreContained() {
  const Graph graph = srresnet(2, {8}, {1});
  const std::vector<float> input = noise(3 * 6 * 6, 6), hr = noise(3 * 144, 2);
  std::vector<float> output(input.size() * 4), expected(output.size());
  const Pair healthy = makePair(graph, Precision::Bf16, 4);
  healthy.cuda->forward(0, input.data(), expected.data(), 1, 6, 6);
  for (const char* call : {"cudaMemcpyAsync", "cudaStreamSynchronize", "launch", "cudaMemsetAsync", "cudaEventRecord", "cudaGraphLaunch"}) {
    for (int after : {0, 1, 5}) {
      const Pair pair = makePair(graph, Precision::Bf16, 4);
      host_cuda::failNext(call, cudaErrorLaunchFailure, after);
      std::string first = "none", text;
      for (int run = 0; run < 4 && first == "none"; ++run) {
        try {
          pair.cuda->forward(0, input.data(), output.data(), 1, 6, 6);
          pair.cuda->train(stepJob(input, hr, 1, 6, 6, {0}));
        } catch (const Error& error) {
          first = error.code;
          text = error.what();
        }
      }
      check(first == "WBSR_DEVICE_FAILED", std::string(call) + " fails: " + first);
      check(text.find("device 0") != std::string::npos && text.find("native/cuda/") != std::string::npos, "the text names file and device: " + text);
      check(errorOf([&] { pair.cuda->forward(0, input.data(), output.data(), 1, 6, 6); }) == "WBSR_DEVICE_FAILED", "the model stays unusable");
      host_cuda::restart();
    }
  }
  healthy.cuda->forward(0, input.data(), output.data(), 1, 6, 6);
  check(sameBits(output, expected), "another model lives on");
}

// Work that runs as late as CUDA allows gives the same results: nothing relies on luck.
void deferredWorkAgrees() {
  const Graph graph = srresnet(2, {8, 16}, {1});
  const std::vector<uint8_t> pixels = bytes(33 * 20 * 3, 1);
  const View view{pixels.data(), Sample::U8, 33, 20, 3};
  const auto run = [&](host_cuda::Mode mode) {
    host_cuda::setMode(mode);
    const Pair pair = makePair(graph, Precision::Bf16, 4);
    std::vector<float> weights(static_cast<size_t>(graph.parameterCount()));
    std::vector<uint8_t> picture;
    std::vector<int64_t> tickets;
    double loss = 0;
    for (int step = 0; step < 5; ++step) {
      const std::vector<float> lr = noise(2 * 3 * 6 * 5, 40 + step), hr = noise(lr.size() * 4, 50 + step);
      tickets.push_back(pair.cuda->submit(stepJob(lr, hr, 2, 6, 5, {1, 0})));
      if (step > 0) loss += pair.cuda->wait(tickets[static_cast<size_t>(step) - 1]).mean.loss;
    }
    loss += pair.cuda->wait(tickets.back()).mean.loss;
    pair.cuda->getArena(Arena::Weights, weights.data());
    picture = upscaled(*pair.cuda, graph, view, tileRegions(graph, 0, 33, 20, 8, 3), 500);
    host_cuda::setMode(host_cuda::Mode::Immediate);
    weights.push_back(static_cast<float>(loss));
    return std::make_pair(weights, picture);
  };
  const auto now = run(host_cuda::Mode::Immediate), late = run(host_cuda::Mode::Deferred);
  check(sameBits(now.first, late.first), "training with work deferred");
  check(now.second == late.second, "inference with work deferred");
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
    fullMemory();
    failuresAreContained();
    deferredWorkAgrees();
    check(host_cuda::live().none(), "nothing stays behind: " + host_cuda::live().text());
#endif
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

// What only the CUDA of the host can do to the CUDA device: work that runs as late as it may, captures that others end,
// memory that is full, calls that fail; and that nothing stays behind.
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

#include "support/cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

// Bands given out without waiting for the one before, as the stream does: the same pixels, also where work runs as late
// as it may; after a failure nobody waits for ever.
void bandsInFlight() {
  const Graph graph = srresnet(2, {8}, {1, 2});
  const int width = 19, bands = 5;
  std::vector<std::vector<uint8_t>> pixels;
  for (int band = 0; band < bands; ++band)
    pixels.push_back(
        bytes(static_cast<size_t>(width) * (10 + band) * 3, static_cast<uint64_t>(band) + 1));  // buffers grow
  const auto jobOf = [&](int band, Canvas* canvas) {
    InferJob job;
    job.pictures.push_back(
        {View{pixels[static_cast<size_t>(band)].data(), Sample::U8, width, 10 + band, 3}, canvas, nullptr, nullptr});
    job.regions = tileRegions(graph, 0, width, 10 + band, 7, 3);
    job.maxBatchPixels = 1000;
    return job;
  };
  std::vector<std::vector<uint8_t>> expected;
  for (const bool inFlight : {false, true}) {
    if (inFlight) host_cuda::setMode(host_cuda::Mode::Deferred);
    const Pair pair = makePair(graph, Precision::Bf16, 4);
    Device& device = *pair.cuda;
    const auto canvas = device.makeCanvas(2 * width, 40);
    std::vector<std::vector<uint8_t>> results(bands);
    std::vector<InferReport> reports(bands);
    struct Ticket {
      int band;
      int64_t infer, finish;
    };
    std::vector<Ticket> tickets;
    std::mutex mutex;
    std::condition_variable more;
    std::thread waiter([&] {
      for (int band = 0; band < bands; ++band) {
        Ticket ticket{};
        {
          std::unique_lock<std::mutex> lock(mutex);
          more.wait(lock, [&] { return tickets.size() > static_cast<size_t>(band); });
          ticket = tickets[static_cast<size_t>(band)];
        }
        device.waitInfer(ticket.infer, reports[static_cast<size_t>(band)]);
        canvas->waitFinish(ticket.finish);
      }
    });
    for (int band = 0; band < bands; ++band) {
      const int rows = 2 * (10 + band);
      results[static_cast<size_t>(band)].resize(static_cast<size_t>(rows) * 2 * width * 3);
      canvas->move(0, 0, rows);
      Ticket ticket{band, 0, 0};
      if (inFlight)
        ticket.infer = device.submitInfer(jobOf(band, canvas.get()), reports[static_cast<size_t>(band)]);
      else
        ticket.infer = (reports[static_cast<size_t>(band)] = device.infer(jobOf(band, canvas.get())), -1);
      ticket.finish = canvas->submitFinish(0, rows, 3, nullptr, Sample::U8, results[static_cast<size_t>(band)].data());
      const std::lock_guard<std::mutex> lock(mutex);
      tickets.push_back(ticket);
      more.notify_one();
    }
    waiter.join();
    host_cuda::setMode(host_cuda::Mode::Immediate);
    for (const InferReport& report : reports)
      check(report.networkSeconds > 0 && report.flops > 0 && report.batches > 0, "every band is reported");
    if (!inFlight)
      expected = results;
    else
      check(results == expected, "bands in flight");
  }

  const Pair pair = makePair(graph, Precision::Bf16, 4);
  const auto canvas = pair.cuda->makeCanvas(2 * width, 40);
  canvas->move(0, 0, 20);
  InferReport report;
  const int64_t first = pair.cuda->submitInfer(jobOf(0, canvas.get()), report),
                second = pair.cuda->submitInfer(jobOf(0, canvas.get()), report);
  host_cuda::failNext("cudaEventSynchronize", cudaErrorLaunchFailure, 0);
  for (const int64_t ticket : {first, second})
    check(errorOf([&] { pair.cuda->waitInfer(ticket, report); }) == "WBSR_DEVICE_FAILED", "a band that fails");
  check(errorOf([&] { pair.cuda->submitInfer(jobOf(0, canvas.get()), report); }) == "WBSR_DEVICE_FAILED",
        "and the next, which does not wait");
  host_cuda::restart();
}

// Another thread that waits for the whole device, as libraries do, ends captures: then there is no graph for a while, and
// all else is as before.
void othersEndCaptures() {
  const Graph graph = srresnet(2, {8}, {1});
  const Pair pair = makePair(graph, Precision::Bf16, 4);
  const std::vector<float> lr = noise(3 * 5 * 4, 6), hr = noise(lr.size() * 4, 7);
  std::vector<float> first(lr.size() * 4), later(first.size());
  const auto forward = [&lr](const Pair& on, std::vector<float>& output) {
    on.cuda->forward(0, lr.data(), output.data(), 1, 5, 4);
  };
  forward(pair, first);
  // Two failures for each device: after the third in a row it would go on without a graph.
  for (const auto& calls :
       {std::pair{"launch", "cudaStreamBeginCapture"}, std::pair{"cudaStreamEndCapture", "cudaGraphInstantiate"}}) {
    const Pair ended = makePair(graph, Precision::Bf16, 4);
    forward(ended, later);
    for (const char* call : {calls.first, calls.second}) {
      // The launch before it puts the input in place.
      host_cuda::failNext(call, cudaErrorStreamCaptureInvalidated, call == std::string("launch") ? 1 : 0);
      check(errorOf([&] { forward(ended, later); }) == "none" && sameBits(later, first),
            std::string("a capture that ends in ") + call);
    }
    const auto graphs = host_cuda::live().graphs;
    forward(ended, later);
    check(sameBits(later, first) && host_cuda::live().graphs == graphs + 1,
          std::string("the next one is captured, after ") + calls.second);
  }
  const Pair other = makePair(graph, Precision::Bf16, 4);
  for (int step = 0; step < 4; ++step) {
    const TrainJob job = stepJob(lr, hr, 1, 5, 4, {0});
    if (step == 1) host_cuda::failNext("cudaStreamEndCapture", cudaErrorStreamCaptureInvalidated, 0);
    check(pair.cuda->train(job).mean.loss == other.cuda->train(job).mean.loss, "a training step whose capture ends");
  }
}

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
  for (size_t sixteenths : {2, 4, 8, 9, 12, 15}) {
    const Pair small = makePair(graph, Precision::Bf16, 4);
    host_cuda::setMemoryLimit(host_cuda::live().bytes + (full - idle) * sixteenths / 16);
    InferReport report;
    const std::string error = errorOf([&] {
      check(upscaled(*small.cuda, graph, view, regions, 100000, &report) == expected,
            "halved batches give the same bits");
    });
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
  for (size_t room :
       {size_t{200} << 10, size_t{400} << 10, size_t{800} << 10, size_t{1200} << 10, size_t{1600} << 10}) {
    int parts = 1;
    const std::vector<float> weights = weightsAfter(room, &parts);
    most = std::max(most, parts);
    if (!weights.empty())
      check(gap(weights, reference) < 1e-4,
            "a batch in " + std::to_string(parts) + " parts trains alike: " + std::to_string(gap(weights, reference)));
  }
  check(most > 1, "some batch was cut into parts");
}

// Any call may fail: the model reports it and stays unusable, others are not affected, and everything can be freed.
void failuresAreContained() {
  const Graph graph = srresnet(2, {8}, {1});
  const std::vector<float> input = noise(3 * 6 * 6, 6), hr = noise(3 * 144, 2);
  std::vector<float> output(input.size() * 4), expected(output.size());
  const Pair healthy = makePair(graph, Precision::Bf16, 4);
  healthy.cuda->forward(0, input.data(), expected.data(), 1, 6, 6);
  for (const char* call : {"cudaMemcpyAsync", "cudaStreamSynchronize", "launch", "cudaMemsetAsync", "cudaEventRecord",
                           "cudaGraphLaunch"}) {
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
      check(text.find("device 0") != std::string::npos && text.find("native/cuda/") != std::string::npos,
            "the text names file and device: " + text);
      check(errorOf([&] { pair.cuda->forward(0, input.data(), output.data(), 1, 6, 6); }) == "WBSR_DEVICE_FAILED",
            "the model stays unusable");
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
    std::vector<StepTicket> tickets;
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
  const auto now = run(host_cuda::Mode::Immediate);
  for (const auto mode : {host_cuda::Mode::Deferred, host_cuda::Mode::DeferredAhead}) {
    const auto late = run(mode);
    check(sameBits(now.first, late.first), "training with work deferred");
    check(now.second == late.second, "inference with work deferred");
  }
}

}  // namespace

int main() {
  try {
    prepareDevice();
    bandsInFlight();
    othersEndCaptures();
    fullMemory();
    failuresAreContained();
    deferredWorkAgrees();
    check(host_cuda::live().none(), "nothing stays behind: " + host_cuda::live().text());
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

// The two streams of a training pass (native/cuda/program/launches.h): who waits for whom, that this is enough, that nothing
// else of the pass changes, and, on the host, that each wait is needed: whichever one is forgotten, it shows.
#include <cstdio>
#include <numeric>

#include "core/operators/conv.h"
#include "support/networks.h"
#include "cuda/program/executable.h"
#include "cuda/program/gradient_ends.h"
#include "cuda/registry.h"
#include "support/cuda_device.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;
using cuda::Context;
using cuda::Executable;
using cuda::Launches;

namespace {

// --- Which entry waits for which, written out ---

void waitsByHand() {
  const cuda::DeviceBuffer arena, other;
  std::string order;
  Launches l;
  const auto main = [&](int64_t begin, int64_t end) { l.add({&arena, begin, end}, [&] { order += 'm'; }); };
  const auto beside = [&](std::vector<Launches::Range> reads) { l.addBeside(std::move(reads), [&] { order += 's'; }); };
  main(0, 10);                                 // 0
  main(10, 20);                                // 1
  beside({{&arena, 0, 5}, {&arena, 9, 10}});   // 2 reads what 0 wrote
  beside({{&arena, 5, 10}});                   // 3 the same, which is there by then
  beside({{&other, 10, 20}});                  // 4 nothing of the main stream's
  beside({{&other, 0, 4}, {&arena, 19, 20}});  // 5 reads what 1 wrote
  main(20, 30);                                // 6 writes over nothing
  main(9, 12);                                 // 7 over what 2 and 3 read
  main(3, 6);                                  // 8 over what 2 and 3 read, which is over by then
  main(18, 20);                                // 9 over what 5 reads
  beside({{&arena, 0, 9}});                    // 10 reads what 8 wrote
  l.schedule();
  std::vector<int> waits;
  for (const Launches::Entry& entry : l.entries()) waits.push_back(entry.waitsFor);
  check(waits == std::vector<int>{-1, -1, 0, -1, -1, 1, -1, 3, -1, 5, 8},
        "each waits for the last one that matters and for none that is over");
  cuda::Stream stream, side;
  l.run(stream, side, Launches::Direct);
  check(order == "mmssssmmmms", "work is queued in the order of the program: " + order);

  // The side stream begins within the pass. A wait for it may leave it a few entries behind.
  Launches late;
  late.add({&arena, 0, 1}, [] {});
  for (int i = 0; i < 30; ++i) late.addBeside({{&other, i, i + 1}}, [] {});
  late.add({&other, 2, 3}, [] {});
  late.add({&other, 20, 21}, [] {});
  late.add({&other, 27, 28}, [] {});
  late.schedule();
  check(late.entries()[1].waitsFor == 0, "the first one waits, though it reads nothing of the main stream's");
  check(late.entries()[31].waitsFor == 22,
        "a wait leaves eight to come: " + std::to_string(late.entries()[31].waitsFor));
  check(late.entries()[32].waitsFor == -1 && late.entries()[33].waitsFor == 28, "and stands for others");
}

// --- That this is enough ---

Program trainingProgram(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width) {
  Program program = lowerCovered(graph, subnet, batch, height, width, {0, 0, width, height});
  fuse(program, cuda::supports, true);
  differentiate(program);
  return program;
}

// Every value is whole when it is read; the same arena with and without room for late steps.
void placesAreSound(Program program, const std::string& name) {
  cuda::fuseGradientEnds(program);
  const auto floats = [](const Value& value) { return int64_t{value.channels} * value.height * value.width; };
  Program tight = program;
  plan(tight, floats, false);
  plan(program, floats, false, true);
  check(program.arenaFloats == tight.arenaFloats, name + ": the arena is as large as without a side stream");
  size_t broken = 0;
  const auto steps = static_cast<int>(program.steps.size());
  const auto whole = [&](int value, int reader) {
    if (value < 0 || program.offsets[static_cast<size_t>(value)] < 0) return;
    const int64_t begin = program.offsets[static_cast<size_t>(value)],
                  end = begin + floats(program.values[static_cast<size_t>(value)]);
    bool written = false;
    for (int i = 0; i < reader; ++i) {
      const int out = program.steps[static_cast<size_t>(i)].out;
      if (out < 0 || program.offsets[static_cast<size_t>(out)] < 0) continue;
      const int64_t from = program.offsets[static_cast<size_t>(out)],
                    to = from + floats(program.values[static_cast<size_t>(out)]);
      if (out == value)
        written = true;
      else
        broken += written && from < end && begin < to;
    }
    broken += !written;
  };
  for (int i = 0; i < steps; ++i) {
    const Step& step = program.steps[static_cast<size_t>(i)];
    for (int in : step.in) whole(in, i);
    whole(step.residual, i);
    check(step.out < 0 ||
              program.offsets[static_cast<size_t>(step.out)] + floats(program.values[static_cast<size_t>(step.out)]) <=
                  program.arenaFloats,
          name + ": within the arena");
  }
  check(broken == 0, name + ": " + std::to_string(broken) + " values are not whole when they are read");
}

struct Overlap {
  int beside = 0, sideWaits = 0, mainWaits = 0;
  std::vector<int> behind;  // what may be to come on the side stream where the main one waits
};

// By what is ordered before what, for all pairs.
Overlap waitsAreEnough(const Launches& launches, const std::string& name) {
  const auto& entries = launches.entries();
  Overlap overlap;
  int over[2] = {-1, -1};  // of the side, the main stream: the last entry that is over for the other one
  size_t races = 0;
  for (int i = 0; i < static_cast<int>(entries.size()); ++i) {
    const Launches::Entry& entry = entries[static_cast<size_t>(i)];
    int& seen = over[entry.beside];
    if (entry.waitsFor >= 0) {
      check(entry.waitsFor < i && entries[static_cast<size_t>(entry.waitsFor)].beside != entry.beside,
            name + ": waits for an earlier one of the other stream");
      check(entry.waitsFor > seen, name + ": no wait for what is over");
      seen = entry.waitsFor;
      (entry.beside ? overlap.sideWaits : overlap.mainWaits)++;
      int behind = 0;
      for (int j = seen + 1; j < i; ++j) behind += entries[static_cast<size_t>(j)].beside;
      if (!entry.beside) overlap.behind.push_back(behind);
    }
    overlap.beside += entry.beside;
    for (int j = seen + 1; j < i; ++j) {
      if (entries[static_cast<size_t>(j)].beside == entry.beside) continue;
      for (const auto& a : entry.touches)
        for (const auto& b : entries[static_cast<size_t>(j)].touches)
          races += a.buffer == b.buffer && std::max(a.begin, b.begin) < std::min(a.end, b.end);
    }
  }
  check(races == 0, name + ": " + std::to_string(races) + " accesses race");
  return overlap;
}

Overlap overlapOf(const Graph& graph, Precision precision, int batch, int height, int width, const std::string& name) {
  DeviceOptions options;
  options.precision = precision;
  Context context(graph, options);
  const SubnetInfo& largest = graph.subnets().back();
  placesAreSound(trainingProgram(graph, largest, batch, height, width), name);
  const Executable training(context, trainingProgram(graph, largest, batch, height, width));
  const Overlap overlap = waitsAreEnough(training.launches(), name);
  check(overlap.beside > 0 && overlap.sideWaits > 0, name + ": weight gradients are on the side stream");

  Program forward = lowerCovered(graph, largest, batch, height, width, {0, 0, width, height});
  fuse(forward, cuda::supports, false);
  const Executable inference(context, forward);
  bool one = true;
  for (const auto& entry : inference.launches().entries())
    one = one && !entry.beside && entry.waitsFor < 0 && entry.event < 0;
  check(one, name + ": inference has one stream and no events");
  return overlap;
}

void waitsOfNetworks() {
  for (const Precision precision : {Precision::Bf16, Precision::Fp32}) {
    overlapOf(srresnet(3, {8, 20}, {1, 3}), precision, 2, 5, 4, "srresnet x3");
    overlapOf(everything(), precision, 2, 5, 4, "every operator");
    for (const Graph& graph : {narrow(), sameSize(), readTwice()}) overlapOf(graph, precision, 1, 3, 4, "odd graph");
    overlapOf(networks::rcan(4, {36}, {2}), precision, 1, 4, 4, "rcan");
  }
  // The network and batch that method.md trains.
  const Overlap overlap =
      overlapOf(networks::srresnet(4, {64}, {16}), Precision::Bf16, 16, 32, 32, "srresnet x4 64x16");
  std::string text;
  for (int behind : overlap.behind) text += " " + std::to_string(behind);
  std::printf(
      "srresnet x4 64x16, 16 x 32x32: %d launches beside, which wait %d times; the others wait %d times, when so many "
      "are to come:%s\n",
      overlap.beside, overlap.sideWaits, overlap.mainWaits, text.c_str());
  check(overlap.mainWaits <= 6,
        "data gradients rarely wait for weight gradients: " + std::to_string(overlap.mainWaits) + " times");
  check(overlap.sideWaits * 2 + 1 == overlap.beside,
        "each weight gradient waits once, for what it reads, and its bias and the sums at the end not again");
}

#ifdef WBSR_HOST_CUDA
// Beside cuDNN's a convolution takes one kernel on the side stream, its bias's, and the pass two at its end.
void launchesOfTheSide() {
  for (int depth : {1, 3}) {
    const Graph graph = srresnet(2, {8}, {depth});
    DeviceOptions options;
    options.precision = Precision::Bf16;
    Context context(graph, options);
    context.weights->prepareTraining();
    Executable training(context, trainingProgram(graph, graph.subnets().back(), 1, 4, 4));
    context.weights->refresh();
    uint64_t launches = 0;
    int convolutions = 0;
    for (const Step& step : training.program().steps) convolutions += step.kind == operators::Conv::kBackwardWeights;
    for (const Launches::Entry& entry : training.launches().entries()) {
      if (!entry.beside) continue;  // the loss would read parameters that a job sets
      const uint64_t before = host_cuda::launches();
      entry.work();
      launches += host_cuda::launches() - before;
    }
    check(launches == static_cast<uint64_t>(convolutions) + 2, std::to_string(launches) +
                                                                   " launches on the side stream for " +
                                                                   std::to_string(convolutions) + " convolutions");
  }
}
#endif

// --- That all of it gives what one stream gives ---

struct Batch {
  std::vector<int> subnets = {0};
  uint64_t seed = 3;
  int batch = 2, height = 5, width = 4;
};

std::vector<float> gradientsOf(Device& device, const Graph& graph, const Batch& step) {
  const size_t in = static_cast<size_t>(step.batch) * 3 * step.height * step.width;
  const std::vector<float> lr = noise(in, step.seed), hr = noise(in * graph.scale() * graph.scale(), step.seed + 1);
  TrainJob job = stepJob(lr, hr, step.batch, step.height, step.width, step.subnets);
  device.waitGradients(device.gradients(job));
  std::vector<float> gradient(static_cast<size_t>(graph.parameterCount()));
  device.getArena(Arena::Gradient, gradient.data());
  return gradient;
}

std::unique_ptr<Device> deviceOf(const Graph& graph, Precision precision) {
  return makeCuda(graph, precision, toFloat(randomParameters(graph, 5)));
}

// Launched, captured, replayed; all subnets of a step one after another.
void sameInEveryRun(const Graph& graph, const std::string& name, Precision precision) {
  Batch step;
  step.subnets.resize(graph.subnets().size());
  std::iota(step.subnets.begin(), step.subnets.end(), 0);
  const auto expected = gradientsOf(*deviceOf(graph, precision), graph, step);
#ifdef WBSR_HOST_CUDA
  for (const auto mode : {host_cuda::Mode::Immediate, host_cuda::Mode::Deferred, host_cuda::Mode::DeferredAhead}) {
    host_cuda::setMode(mode);
#else
  for (int again = 0; again < 3; ++again) {
#endif
    const auto device = deviceOf(graph, precision);
    for (const char* run : {"launched", "captured", "replayed"})
      check(sameBits(gradientsOf(*device, graph, step), expected),
            name + ", " + run + ": the same gradients in whatever order the streams come");
  }
#ifdef WBSR_HOST_CUDA
  host_cuda::setMode(host_cuda::Mode::Immediate);
#endif
}

void streamsAgree() {
  sameInEveryRun(srresnet(2, {8, 20}, {1, 2}), "srresnet x2", Precision::Bf16);
  sameInEveryRun(srresnet(2, {8}, {2}), "srresnet x2", Precision::Fp32);
  sameInEveryRun(everything(), "every operator", Precision::Bf16);
  for (const Graph& graph : {narrow(), sameSize(), readTwice()}) sameInEveryRun(graph, "odd graph", Precision::Bf16);
}

#ifdef WBSR_HOST_CUDA
using host_cuda::Mode;

// --- That each wait is needed ---

const Graph& mutated() {
  static const Graph graph = srresnet(2, {8}, {2});
  return graph;
}

constexpr int kOfTheBatch = 2;  // waits of a step before its first pass: upload and passes for each other

// Whether a step in which a wait is forgotten, the first one of a device (launched) or the second (captured), is wrong.
bool shows(Mode mode, bool captured, int forgotten, const std::vector<float>& expected) {
  host_cuda::restart();
  host_cuda::setMode(mode);
  bool wrong = false;
  try {
    const auto device = deviceOf(mutated(), Precision::Bf16);
    if (captured)
      gradientsOf(*device, mutated(), {{0}, 30});  // what it leaves behind is not what the next one computes
    const size_t graphs = host_cuda::live().graphs;
    host_cuda::forgetWait(forgotten);
    wrong = !sameBits(gradientsOf(*device, mutated(), {}), expected);
    // A capture that CUDA refuses may be made up for by launches.
    wrong = wrong || (captured && host_cuda::live().graphs != graphs + 1);
  } catch (const Error& error) {
    wrong = true;
  }
  host_cuda::restart();
  return wrong;
}

void eachWaitIsNeeded() {
  const auto device = deviceOf(mutated(), Precision::Bf16);
  const uint64_t before = host_cuda::waits();
  const auto expected = gradientsOf(*device, mutated(), {});
  const int waits = static_cast<int>(host_cuda::waits() - before);
  check(waits > kOfTheBatch + 8, "a step waits for " + std::to_string(waits) + " events");
  int byOrder[2] = {0, 0};
  for (const bool captured : {false, true}) {
    const int none = waits;
    check(!shows(Mode::Deferred, captured, none, expected) && !shows(Mode::DeferredAhead, captured, none, expected),
          "a step that forgets nothing is right");
    for (int i = kOfTheBatch; i < waits; ++i) {
      const bool late = shows(Mode::Deferred, captured, i, expected),
                 ahead = shows(Mode::DeferredAhead, captured, i, expected);
      check(late || ahead, std::string(captured ? "captured" : "launched") + ": wait " + std::to_string(i) + " of " +
                               std::to_string(waits) + " forgotten shows");
      byOrder[0] += late;
      byOrder[1] += ahead;
    }
  }
  check(byOrder[0] > 2 && byOrder[1] > 2,
        "both orders find some: " + std::to_string(byOrder[0]) + ", " + std::to_string(byOrder[1]));
}

// --- What fails in the middle of a pass leaves nothing on the side stream ---

// The step begins anew in halves, with memory of its own; where a capture fails, perhaps as a whole.
void failuresJoin() {
  const Batch step;
  const uint64_t before = host_cuda::launches();
  const auto whole = gradientsOf(*deviceOf(mutated(), Precision::Bf16), mutated(), step);
  const int launches = static_cast<int>(host_cuda::launches() - before);
  std::vector<float> halves;
  int halved = 0;
  for (const bool captured : {false, true})
    for (int launch = 0; launch < launches; launch += 3) {
      host_cuda::setMode(Mode::Deferred);
      const auto device = deviceOf(mutated(), Precision::Bf16);
      if (captured) gradientsOf(*device, mutated(), {{0}, 30});
      const auto failing = [&] {
        host_cuda::failNext("launch", cudaErrorMemoryAllocation, launch);
        return gradientsOf(*device, mutated(), step);
      };
      std::vector<float> gradient;
      const std::string error = errorOf([&] { gradient = failing(); });
      const std::string what = std::string(captured ? "captured" : "launched") + ": launch " + std::to_string(launch) +
                               " of " + std::to_string(launches) + " fails: ";
      check(error == "none" || error == "WBSR_OUT_OF_MEMORY", what + error);
      for (int again = 0; again < 2; ++again) {
        if (!gradient.empty() && !sameBits(gradient, whole)) {
          if (halves.empty()) halves = gradient;
          ++halved;
          check(sameBits(gradient, halves), what + "the gradients of two halves");
        }
        host_cuda::restart();  // also what did not come to fail
        host_cuda::setMode(Mode::Deferred);
        gradient = gradientsOf(*device, mutated(), step);
      }
      host_cuda::restart();
    }
  check(halved > 8 && rmsGap(halves, whole) < 2e-2,
        "steps that fail in the middle begin anew: " + std::to_string(halved));
}
#endif

}  // namespace

int main([[maybe_unused]] int argc, [[maybe_unused]] char** argv) {
  try {
    prepareDevice();
#ifdef WBSR_HOST_CUDA
    if (argc >
        1) {  // a planted bug, for test/native/cuda/cuda-checks.test.ts: a wait of or for the side stream is left out
      const bool fork = std::string(argv[1]) == "forgotten fork";
      const uint64_t before = host_cuda::waits();
      const auto expected = gradientsOf(*deviceOf(mutated(), Precision::Bf16), mutated(), {});
      const int waits = static_cast<int>(host_cuda::waits() - before);
      host_cuda::setMode(fork ? Mode::DeferredAhead : Mode::Deferred);
      host_cuda::forgetWait(fork ? kOfTheBatch : waits - 1);
      check(sameBits(gradientsOf(*deviceOf(mutated(), Precision::Bf16), mutated(), {}), expected),
            "the gradients of a pass whose streams race");
      return finish();
    }
#endif
    waitsByHand();
    waitsOfNetworks();
#ifdef WBSR_HOST_CUDA
    launchesOfTheSide();
#endif
    streamsAgree();
#ifdef WBSR_HOST_CUDA
    eachWaitIsNeeded();
    failuresJoin();
    check(host_cuda::live().none(), "nothing stays behind: " + host_cuda::live().text());
#endif
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

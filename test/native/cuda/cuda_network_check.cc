// Whole networks on the CUDA device against the CPU device: forward passes of every operator, gradients, training
// steps; direct launches against captured graphs, one batch against parts, crops against planes.
#include <cstdio>

#include "support/cuda_device.h"
#include "support/training_halves.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

const char* labelOf(Precision precision) {
  return precision == Precision::Bf16 ? " bf16" : precision == Precision::Tf32 ? " tf32" : " fp32";
}
// fp32: rounding. tf32 keeps 10 bits of the operands, bf16 7.
double tolerance(Precision precision) {
  return precision == Precision::Fp32 ? 2e-5 : precision == Precision::Tf32 ? 4e-3 : 3e-2;
}

void forwardAgrees(const Graph& graph, const std::string& name, Precision precision, int batch, int h, int w) {
  const Pair pair = makePair(graph, precision, 7);
  const size_t in = static_cast<size_t>(batch) * 3 * h * w, out = in * graph.scale() * graph.scale();
  const std::vector<float> input = noise(in, 11);
  for (const SubnetInfo& subnet : graph.subnets()) {
    std::vector<float> expected(out), first(out), again(out);
    pair.cpu->forward(subnet.index, input.data(), expected.data(), batch, h, w);
    pair.cuda->forward(subnet.index, input.data(), first.data(), batch, h, w);
    const std::string what = name + labelOf(precision) + " forward " + std::to_string(subnet.width) + "x" +
                             std::to_string(subnet.depth) + " at " + std::to_string(batch) + "x" + std::to_string(h) +
                             "x" + std::to_string(w);
    const double error = gap(first, expected);
    check(error < tolerance(precision), what + ": " + std::to_string(error));
    for (int run = 0; run < 2; ++run) {  // captured, replayed
      pair.cuda->forward(subnet.index, input.data(), again.data(), batch, h, w);
      check(sameBits(again, first), what + ": the graph gives the bits of the launches");
    }
  }
}

void gradientsAgree(const Graph& graph, const std::string& name, Precision precision, int batch, int h, int w,
                    const LossSpec& loss) {
  const Pair pair = makePair(graph, precision, 5);
  const size_t in = static_cast<size_t>(batch) * 3 * h * w;
  const std::vector<float> lr = noise(in, 3), hr = noise(in * graph.scale() * graph.scale(), 4);
  for (const SubnetInfo& subnet : graph.subnets()) {
    TrainJob job = stepJob(lr, hr, batch, h, w, {subnet.index});
    job.loss = loss;
    std::vector<float> expected(static_cast<size_t>(graph.parameterCount())), actual(expected.size()),
        again(expected.size());
    const TrainReport cpuReport = pair.cpu->waitGradients(pair.cpu->gradients(job)),
                      cudaReport = pair.cuda->waitGradients(pair.cuda->gradients(job));
    pair.cpu->getArena(Arena::Gradient, expected.data());
    pair.cuda->getArena(Arena::Gradient, actual.data());
    const std::string what =
        name + labelOf(precision) + " gradients " + std::to_string(subnet.width) + "x" + std::to_string(subnet.depth);
    // A sum over many roundings: judged by its mean square, element by element only in full precision.
    const double error = precision == Precision::Fp32 ? gap(actual, expected) : rmsGap(actual, expected);
    check(error < 2 * tolerance(precision), what + ": " + std::to_string(error));
    const double lossGap =
        std::fabs(cudaReport.mean.loss - cpuReport.mean.loss) / (1e-3 + std::fabs(cpuReport.mean.loss));
    check(lossGap < tolerance(precision),
          what + ", loss " + std::to_string(cudaReport.mean.loss) + " for " + std::to_string(cpuReport.mean.loss));
    for (int run = 0; run < 2; ++run) {
      pair.cuda->waitGradients(pair.cuda->gradients(job));
      pair.cuda->getArena(Arena::Gradient, again.data());
      check(sameBits(again, actual), what + ": the graph gives the bits of the launches");
    }
  }
}

// Captured graphs hold addresses: when a larger program makes memory move, or full memory has freed it, they are captured anew.
void graphsFollowMemory() {
  const Graph graph = srresnet(2, {8, 16}, {1, 2});
  const Pair pair = makePair(graph, Precision::Bf16, 7);
  const std::vector<float> small = noise(3 * 5 * 5, 1), large = noise(4 * 3 * 19 * 23, 2),
                           hr = noise(4 * 3 * 38 * 46, 3);
  std::vector<float> first(small.size() * 4), again(first.size()), other(large.size() * 4);
  for (int run = 0; run < 3; ++run) pair.cuda->forward(0, small.data(), first.data(), 1, 5, 5);
  pair.cuda->forward(3, large.data(), other.data(), 4, 19, 23);
  for (int run = 0; run < 2; ++run) {
    pair.cuda->forward(0, small.data(), again.data(), 1, 5, 5);
    check(sameBits(again, first), "a captured pass after a larger one");
  }
  pair.cuda->train(stepJob(large, hr, 4, 19, 23, {3}));  // weights change in their places
  pair.cuda->forward(0, small.data(), again.data(), 1, 5, 5);
  check(!sameBits(again, first), "a captured pass sees the new weights");
}

// A frequency term in the loss of some steps: graphs are captured anew, and what it adds is what it adds on the CPU.
void frequencyTermComesAndGoes() {
  const Graph graph = srresnet(2, {8, 16}, {1, 2});
  const Pair pair = makePair(graph, Precision::Fp32, 13);
  const std::vector<float> lr = noise(2 * 3 * 5 * 4, 1), hr = noise(2 * 3 * 10 * 8, 2);
  GradientJob job = stepJob(lr, hr, 2, 5, 4, {3, 0});
  const auto gradient = [&](Device& device, float weight, TrainReport& report) {
    job.loss.element = ElementLoss::L2;
    job.loss.frequency = weight;
    report = device.waitGradients(device.gradients(job));
    std::vector<float> out(static_cast<size_t>(graph.parameterCount()));
    device.getArena(Arena::Gradient, out.data());
    return out;
  };
  TrainReport report, wanted;
  const std::vector<float> without = gradient(*pair.cuda, 0, report), expected = gradient(*pair.cpu, 0.05f, wanted);
  check(report.mean.frequency == 0, "no term without weight");
  for (float weight : {0.f, 0.05f, 0.05f, 0.05f, 0.f, 0.f, 0.05f}) {
    const std::vector<float> actual = gradient(*pair.cuda, weight, report);
    if (weight == 0) {
      check(sameBits(actual, without) && report.mean.frequency == 0, "without the term the bits of before");
      continue;
    }
    check(gap(actual, expected) < 1e-3, "gradient with the term: " + std::to_string(gap(actual, expected)));
    check(gap(without, expected) > 0.1, "which is another one");
    check(std::fabs(report.mean.frequency - wanted.mean.frequency) < 1e-5 * wanted.mean.frequency,
          "the term: " + std::to_string(report.mean.frequency) + " for " + std::to_string(wanted.mean.frequency));
    check(std::fabs(report.mean.loss - report.mean.data - report.mean.frequency) < 1e-9, "data + frequency = loss");
  }
}

// Ten sandwich steps: losses as on the CPU; the same bits in a second run, with two steps in flight.
void trainingAgrees(Precision precision) {
  const Graph graph = srresnet(2, {8, 12}, {1, 2});
  const int batch = 2, h = 6, w = 6;
  const size_t in = static_cast<size_t>(batch) * 3 * h * w;
  const int last = static_cast<int>(graph.subnets().size()) - 1;
  struct Result {
    std::vector<double> losses;
    std::vector<float> weights, ema;
    std::vector<int32_t> steps;
  };
  const auto run = [&](Device& device, bool pipelined) {
    Result result;
    std::vector<StepTicket> tickets;
    const auto take = [&](const TrainReport& report) {
      check(report.finite, "finite");
      result.losses.push_back(report.mean.loss);
    };
    for (int step = 0; step < 10; ++step) {
      const std::vector<float> lr = noise(in, 100 + step), hr = noise(in * 4, 200 + step);
      TrainJob job = stepJob(lr, hr, batch, h, w, {last, 0, step % (last + 1)});
      job.loss = balancedLoss(1, ElementLoss::L1);
      const StepTicket ticket = device.submit(job);  // lr and hr go out of scope: they must have been read
      if (!pipelined)
        take(device.wait(ticket));
      else
        tickets.push_back(ticket);
      if (pipelined && step > 0) take(device.wait(tickets[static_cast<size_t>(step) - 1]));
    }
    if (pipelined) take(device.wait(tickets.back()));
    result.weights.resize(static_cast<size_t>(graph.parameterCount()));
    result.ema.resize(result.weights.size());
    device.getArena(Arena::Weights, result.weights.data());
    device.getArena(Arena::Ema, result.ema.data());
    result.steps = device.steps();
    return result;
  };
  const Pair pair = makePair(graph, precision, 31);
  const Result expected = run(*pair.cpu, false), actual = run(*pair.cuda, false);
  for (size_t i = 0; i < expected.losses.size(); ++i)
    check(std::fabs(actual.losses[i] - expected.losses[i]) <
              (precision == Precision::Fp32 ? 1e-4 : 2e-2) * std::fabs(expected.losses[i]),
          std::string("training") + labelOf(precision) + ", loss of step " + std::to_string(i) + ": " +
              std::to_string(actual.losses[i]) + " for " + std::to_string(expected.losses[i]));
  check(actual.steps == expected.steps, "Adam's step counts");
  if (precision == Precision::Fp32) {
    check(gap(actual.weights, expected.weights) < 2e-3,
          "weights after ten steps: " + std::to_string(gap(actual.weights, expected.weights)));
    check(gap(actual.ema, expected.ema) < 2e-3, "their average");
  }
  const Pair second = makePair(graph, precision, 31);
  const Result again = run(*second.cuda, true);
  check(sameBits(again.weights, actual.weights) && again.losses == actual.losses,
        std::string("two steps in flight give the bits of one") + labelOf(precision));
}

// Batches made on the device from crops are those of the CPU, so a step from crops is the step from planes.
void cropsAgree() {
  const Graph graph = srresnet(2, {8}, {1});
  const int batch = 3, patch = 16;
  std::vector<uint8_t> image(static_cast<size_t>(37) * 29 * 3);
  Random random{77};
  for (uint8_t& v : image) v = static_cast<uint8_t>((random.next() * 0.5 + 0.5) * 255);
  auto source = std::make_shared<BatchSource>();
  source->images = {View{image.data(), Sample::U8, 37, 29, 3}};
  source->crops = {Crop{0, 0, 0, false, false, false}, Crop{0, 21, 13, true, false, true},
                   Crop{0, 7, 5, false, true, false}};
  const Pair pair = makePair(graph, Precision::Fp32, 3);
  TrainJob job = stepJob({}, {}, batch, patch / 2, patch / 2, {0});
  job.lr = job.hr = nullptr;
  job.source = source;
  const TrainReport expected = pair.cpu->train(job), actual = pair.cuda->train(job);
  check(std::fabs(actual.mean.loss - expected.mean.loss) < 1e-6,
        "a step from crops: loss " + std::to_string(actual.mean.loss) + " for " + std::to_string(expected.mean.loss));
}

// A value that is not finite stops the updates until weights are set again; later reports say so.
void nonFiniteStops() {
  const Graph graph = srresnet(2, {8}, {1});
  const Pair pair = makePair(graph, Precision::Bf16, 3);
  const std::vector<float> lr = noise(3 * 5 * 5, 1), hr = noise(3 * 10 * 10, 2);
  std::vector<float> broken = hr;
  broken[17] = NAN;
  std::vector<float> before(static_cast<size_t>(graph.parameterCount())), after(before.size());
  pair.cuda->train(stepJob(lr, hr, 1, 5, 5, {0}));
  pair.cuda->getArena(Arena::Weights, before.data());
  const std::vector<int32_t> steps = pair.cuda->steps();
  const StepTicket bad = pair.cuda->submit(stepJob(lr, broken, 1, 5, 5, {0})),
                   good = pair.cuda->submit(stepJob(lr, hr, 1, 5, 5, {0}));
  check(!pair.cuda->wait(bad).finite, "a target that is not a number is reported");
  check(!pair.cuda->wait(good).finite, "the step that was in flight behind it as well");
  pair.cuda->getArena(Arena::Weights, after.data());
  check(sameBits(before, after), "weights are those before the step");
  check(pair.cuda->steps() == steps, "step counts too");
  pair.cuda->setArena(Arena::Weights, before.data());
  check(pair.cuda->train(stepJob(lr, hr, 1, 5, 5, {0})).finite, "weights set again: training goes on");
  check(pair.cuda->steps() != steps, "and counts");
}

}  // namespace

int main() {
  try {
    prepareDevice();
    LossSpec squared;
    squared.element = ElementLoss::L2;
    for (Precision precision : {Precision::Fp32, Precision::Tf32, Precision::Bf16}) {
      forwardAgrees(srresnet(4, {12, 36}, {1, 2}), "srresnet x4", precision, 2, 5, 7);
      forwardAgrees(srresnet(3, {8}, {1}), "srresnet x3", precision, 1, 1, 1);
      forwardAgrees(everything(), "every operator", precision, 3, 7, 5);
      for (const Graph& graph : {narrow(), sameSize(), readTwice(), ordered(), gated()})
        forwardAgrees(graph, "odd graph", precision, 2, 3, 8);
      gradientsAgree(srresnet(2, {8, 20}, {1, 2}), "srresnet x2", precision, 2, 5, 4, balancedLoss(3, ElementLoss::L2));
      gradientsAgree(everything(), "every operator", precision, 2, 5, 4, squared);
      for (const Graph& graph : {narrow(), sameSize(), readTwice(), ordered(), gated()})
        gradientsAgree(graph, "odd graph", precision, 1, 3, 4, squared);
    }
#ifdef WBSR_HOST_CUDA
    // Weight gradients that cuDNN writes as float, where the others were written as bf16.
    host_cuda::fakeCudnn().halfGradients = false;
    gradientsAgree(srresnet(2, {8, 20}, {1}), "srresnet x2, dw in float", Precision::Bf16, 2, 5, 4, squared);
    host_cuda::fakeCudnn().halfGradients = true;
#endif
    graphsFollowMemory();
    frequencyTermComesAndGoes();
    trainingAgrees(Precision::Fp32);
    trainingAgrees(Precision::Bf16);
    for (Precision precision : {Precision::Fp32, Precision::Bf16}) {
      const Graph graph = srresnet(2, {8, 20}, {1, 2});
      const auto make = [&] { return std::move(makePair(graph, precision, 47).cuda); };
      checkTrainingHalves(graph, make, precision == Precision::Fp32 ? 1e-4 : 3e-2, nameOf(precision));
    }
    cropsAgree();
    nonFiniteStops();
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

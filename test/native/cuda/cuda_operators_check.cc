// Every operator on the CUDA device against the CPU device, which operators_check.cc compares with plain loops and finite
// differences: its rows, at every precision, forward and gradients, launched and from a captured graph.
#define main operatorsMain  // the rows are that file's
#include "../operators_check.cc"
#undef main

#include "support/cuda_device.h"

namespace {

const char* labelOf(Precision precision) {
  return precision == Precision::Bf16 ? ", bf16" : precision == Precision::Tf32 ? ", tf32" : ", fp32";
}

// Relative to the largest value: what a few roundings of a value and of a convolution's operands make. A value of bf16
// keeps 8 bits, an operand of tf32 11.
double tolerance(Precision precision) {
  return precision == Precision::Fp32 ? 2e-5 : precision == Precision::Tf32 ? 4e-3 : 3e-2;
}

struct Shape {
  int batch, height, width;
};

void forwardOnCuda(const Pair& pair, const Graph& graph, const std::string& name, Precision precision, Shape s) {
  const size_t in = static_cast<size_t>(s.batch) * 3 * s.height * s.width, out = in * graph.scale() * graph.scale();
  const std::vector<float> input = noise(in, 11);
  for (const SubnetInfo& subnet : graph.subnets()) {
    std::vector<float> expected(out), first(out), again(out);
    pair.cpu->forward(subnet.index, input.data(), expected.data(), s.batch, s.height, s.width);
    pair.cuda->forward(subnet.index, input.data(), first.data(), s.batch, s.height, s.width);
    const std::string what = name + " forward " + std::to_string(subnet.width) + " at " + std::to_string(s.batch) +
                             "x" + std::to_string(s.height) + "x" + std::to_string(s.width);
    const double error = gap(first, expected);
    check(error < tolerance(precision), what + ": " + std::to_string(error));
    for (int run = 0; run < 2; ++run) {  // captured, replayed
      pair.cuda->forward(subnet.index, input.data(), again.data(), s.batch, s.height, s.width);
      check(sameBits(again, first), what + ": the graph gives the bits of the launches");
    }
  }
}

void gradientsOnCuda(const Pair& pair, const Graph& graph, const std::string& name, Precision precision, Shape s) {
  const size_t in = static_cast<size_t>(s.batch) * 3 * s.height * s.width;
  const std::vector<float> lr = noise(in, 3), hr = noise(in * graph.scale() * graph.scale(), 4);
  for (const SubnetInfo& subnet : graph.subnets()) {
    TrainJob job = stepJob(lr, hr, s.batch, s.height, s.width, {subnet.index});
    job.loss = LossSpec{};
    job.loss.element = ElementLoss::L2;
    std::vector<float> expected(static_cast<size_t>(graph.parameterCount())), actual(expected.size()),
        again(expected.size());
    pair.cpu->waitGradients(pair.cpu->gradients(job));
    pair.cuda->waitGradients(pair.cuda->gradients(job));
    pair.cpu->getArena(Arena::Gradient, expected.data());
    pair.cuda->getArena(Arena::Gradient, actual.data());
    const std::string what = name + " gradients " + std::to_string(subnet.width);
    // A sum over many roundings: judged by its mean square, element by element only in full precision.
    const double error = precision == Precision::Fp32 ? gap(actual, expected) : rmsGap(actual, expected);
    check(error < 2 * tolerance(precision), what + ": " + std::to_string(error));
    pair.cuda->waitGradients(pair.cuda->gradients(job));
    pair.cuda->getArena(Arena::Gradient, again.data());
    check(sameBits(again, actual), what + ": the graph gives the bits of the launches");
  }
}

// An optimizer step of the largest and the smallest subnet: the same shells are updated, and packs follow the weights.
void stepOnCuda(const Pair& pair, const Graph& graph, const std::string& name, Shape s) {
  const size_t in = static_cast<size_t>(s.batch) * 3 * s.height * s.width, out = in * graph.scale() * graph.scale();
  const std::vector<float> lr = noise(in, 5), hr = noise(out, 6);
  const int last = static_cast<int>(graph.subnets().size()) - 1;
  const TrainJob job = stepJob(lr, hr, s.batch, s.height, s.width, {last, 0});
  std::vector<float> expected(static_cast<size_t>(graph.parameterCount())), actual(expected.size());
  pair.cpu->train(job);
  pair.cuda->train(job);
  pair.cpu->getArena(Arena::Weights, expected.data());
  pair.cuda->getArena(Arena::Weights, actual.data());
  check(pair.cuda->steps() == pair.cpu->steps(), name + ": step counts");
  // Adam makes a step of its full size of the smallest gradient, whose sign may be a matter of rounding: of few.
  size_t apart = 0;
  for (size_t i = 0; i < expected.size(); ++i) apart += std::fabs(actual[i] - expected[i]) > 0.1f * job.learningRate;
  check(apart * 50 <= expected.size() + 50,
        name + " step: " + std::to_string(apart) + " of " + std::to_string(expected.size()) + " weights differ");
  pair.cpu->setArena(Arena::Weights, actual.data());
  for (const SubnetInfo& subnet : graph.subnets()) {
    std::vector<float> before(out), after(out);
    pair.cpu->forward(subnet.index, lr.data(), before.data(), s.batch, s.height, s.width);
    pair.cuda->forward(subnet.index, lr.data(), after.data(), s.batch, s.height, s.width);
    const double error = gap(after, before);
    check(error < tolerance(Precision::Fp32), name + " after a step: " + std::to_string(error));
  }
}

void runOnCuda(const Row& row, Precision precision) {
  for (const std::vector<int>& widths : {std::vector<int>{1, 7}, std::vector<int>{5, 19, 65}}) {
    Builder b;
    const int image = b.input();
    const int x = row.build(b, b.conv("head", image, width()), image);
    const Graph graph(row.scale, widths, {1}, b.nodes, b.conv("tail", x, fixed(3)));
    const std::string name = row.name + ", widths up to " + std::to_string(widths.back()) + labelOf(precision);
    const auto side = [&row](int n) {
      return std::max(row.smallest, (n + row.multiple - 1) / row.multiple * row.multiple);
    };
    const Pair pair = makePair(graph, precision, 7);
    forwardOnCuda(pair, graph, name, precision, {1, side(1), side(1)});
    forwardOnCuda(pair, graph, name, precision, {2, side(7), side(10)});
    gradientsOnCuda(pair, graph, name, precision, {2, side(5), side(4)});
    if (precision == Precision::Fp32) stepOnCuda(pair, graph, name, {2, side(5), side(4)});
  }
}

}  // namespace

int main() {
  try {
    prepareDevice();
    for (const Row& row : rows())
      for (const Precision precision : {Precision::Fp32, Precision::Tf32, Precision::Bf16}) runOnCuda(row, precision);
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

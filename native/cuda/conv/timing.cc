#include "cuda/conv/timing.h"

#include <algorithm>
#include <limits>

#include "cuda/conv/graph.h"

namespace wbsr::cuda {
namespace {

constexpr int kWarmUp = 2, kRounds = 3, kRuns = 8;

size_t bytesOf(int64_t count, Type type) {
  return static_cast<size_t>(count) * (type == Type::Bf16 ? sizeof(bf16) : sizeof(float));
}

// Every byte 0x3c: 0.0115 as float and as bf16. With zeros the card would clock higher than with real data.
void fill(DeviceBuffer& buffer, size_t bytes, cudaStream_t stream) {
  buffer.reserve(bytes);
  WBSR_CUDA(cudaMemsetAsync(buffer.as<>(), 0x3c, bytes, stream));
}

// The best of some rounds of kRuns runs, in one graph, as the device runs plans: the processor takes longer to submit a
// single execution than the device takes for a small convolution.
double seconds(const ConvPlan& plan, const ConvArguments& arguments, void* workspace, cudaStream_t stream) {
  for (int i = 0; i < kWarmUp; ++i) plan.run(arguments, workspace, stream);
  const auto runs = [&] {
    for (int i = 0; i < kRuns; ++i) plan.run(arguments, workspace, stream);
  };
  Graph graph;
  try {
    graph.capture(stream, runs);
    graph.launch(stream);   // the first launch uploads the graph
  } catch (const Error&) {  // ended by another thread's call that waits for the device
    graph.reset();
  }
  Event begin(true), end(true);
  double best = std::numeric_limits<double>::max();
  for (int round = 0; round < kRounds; ++round) {
    begin.record(stream);
    if (graph.captured())
      graph.launch(stream);
    else
      runs();
    end.record(stream);
    end.synchronise();
    best = std::min(best, end.secondsSince(begin));
  }
  return best;
}

}  // namespace

size_t fastestPlan(const ConvSpec& spec, const std::vector<std::unique_ptr<ConvPlan>>& plans) {
  if (plans.size() < 2) return 0;
  const int64_t in = spec.inPixels() * spec.inChannels, out = spec.outPixels() * spec.outChannels;
  const int64_t weights = int64_t{spec.outChannels} * spec.kernel * spec.kernel * spec.inChannels;
  const Type operand = operandType(spec.precision), result = resultType(spec);
  const bool forward = spec.mode == ConvSpec::Forward, toData = spec.mode == ConvSpec::BackwardData;
  const Stream stream;
  DeviceBuffer x, w, y, bias, slopes, residual, gate, sums, workspace;
  try {
    fill(x, bytesOf(in, toData ? result : operand), stream);
    fill(w, bytesOf(weights, forward || toData ? operand : result), stream);
    fill(y, bytesOf(out, forward ? result : operand), stream);
    if (spec.bias) fill(bias, bytesOf(spec.outChannels, Type::Float), stream);
    if (spec.slopes) fill(slopes, bytesOf(spec.outChannels, Type::Float), stream);
    if (spec.residual) fill(residual, bytesOf(forward ? out : in, result), stream);
    if (spec.gate) fill(gate, bytesOf(in, result), stream);
    size_t most = 0, chunks = 0;
    for (const auto& plan : plans) most = std::max(most, plan->workspace());
    for (const auto& plan : plans) chunks = std::max(chunks, static_cast<size_t>(plan->sumChunks()));
    if (spec.sums) sums.reserve(sizeof(float) * chunks * static_cast<size_t>(spec.batch) * spec.outChannels);
    if (most > 0) workspace.reserve(most);
  } catch (const Error& error) {
    if (error.code != "WBSR_OUT_OF_MEMORY") throw;
    stream.synchronise();  // queued work writes to the buffers that are freed here
    return 0;
  }
  const ConvArguments arguments{x.as<>(),           w.as<>(),        y.as<>(),    bias.as<float>(),
                                slopes.as<float>(), residual.as<>(), gate.as<>(), sums.as<float>()};
  size_t fastest = 0;
  double best = std::numeric_limits<double>::max();
  for (size_t i = 0; i < plans.size(); ++i) {
    const double took = seconds(*plans[i], arguments, workspace.as<>(), stream);
    if (took < best) {
      best = took;
      fastest = i;
    }
  }
  return fastest;
}

}  // namespace wbsr::cuda

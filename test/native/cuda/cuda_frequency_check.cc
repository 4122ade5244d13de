// Checks of native/cuda/frequency_loss.cu against direct sums in double and against the CPU: shapes that fill no block, all
// strides, parts of a batch, captured launches.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/frequency_loss.h"
#include "cuda/frequency_loss.h"
#include "support/cuda_check.h"
#include "support/frequency_reference.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

constexpr float kWeight = 0.05f, kGradientScale = 1.5f, kBefore = 0.25f;

LossSpec weighted(float weight) {
  LossSpec spec;
  spec.frequency = weight;
  return spec;
}

// counted: images of the whole mean.
std::vector<LossParameters> parametersOf(const FrequencyBatch& b, float weight, int counted) {
  const LossSpec spec = weighted(weight);
  return {makeLossParameters(spec, countLoss(spec, counted, b.height, b.width), kGradientScale)};
}

std::vector<float> interleave(const std::vector<float>& planar, const FrequencyBatch& b, int stride) {
  const size_t area = static_cast<size_t>(b.height) * b.width;
  std::vector<float> out(b.batch * area * stride, 0.625f);  // padding that must not count
  for (size_t n = 0; n < static_cast<size_t>(b.batch); ++n)
    for (size_t p = 0; p < area; ++p)
      for (size_t c = 0; c < 3; ++c) out[(n * area + p) * stride + c] = planar[(n * 3 + c) * area + p];
  return out;
}

struct Arrays {
  DeviceArray<float> prediction, target, gradient;
  DeviceArray<double> sum{1};
  DeviceArray<unsigned char> scratch;

  Arrays(const FrequencyBatch& b, int stride)
      : prediction(interleave(b.prediction, b, stride)),
        target(interleave(b.target, b, stride)),
        gradient(std::vector<float>(prediction.size(), kBefore)),
        scratch(frequencyScratch(b.batch, b.height, b.width)) {}

  void launch(const LossParameters* parameters, const FrequencyBatch& b, int stride, cudaStream_t stream) {
    frequencyLoss(parameters, prediction, target, gradient, stride, b.batch, b.height, b.width, sum, scratch, stream);
  }
};

void near(double got, double wanted, double tolerance, const std::string& what) {
  char text[160];
  std::snprintf(text, sizeof text, ": got %.9g, wanted %.9g, tolerance %.3g", got, wanted, tolerance);
  check(std::fabs(got - wanted) <= tolerance, what + text);
}

void compare(const FrequencyBatch& b, int stride, int counted, cudaStream_t stream) {
  const std::string what = b.name() + ", stride " + std::to_string(stride) + ", of " + std::to_string(counted);
  const FrequencyReference wanted = frequencyReference(b.prediction, b.target, b.batch, b.height, b.width, kWeight);
  const double share = double(b.batch) / counted;
  const DeviceArray<LossParameters> parameters(parametersOf(b, kWeight, counted));
  Arrays first(b, stride), again(b, stride);
  for (Arrays* arrays : {&first, &again}) arrays->launch(parameters, b, stride, stream);
  near(first.sum.download()[0], share * wanted.value, 2e-6 * wanted.value, what + ": value");
  sameBits(again.sum.download(), first.sum.download(), what + ": the same value again");
  const std::vector<float> gradient = first.gradient.download();
  sameBits(again.gradient.download(), gradient, what + ": the same gradient again");
  const std::vector<float> reference(wanted.gradient.begin(), wanted.gradient.end()),
      laidOut = interleave(reference, b, stride);
  const double most = kGradientScale * kWeight / (b.batch * 3.0);
  for (size_t i = 0; i < gradient.size(); ++i) {
    if (static_cast<int>(i) % stride >= 3) {
      check(gradient[i] == kBefore, what + ": padding is left alone");
      continue;
    }
    near(gradient[i] - kBefore, share * kGradientScale * laidOut[i], 2e-6 * most + 3e-8, what + ": gradient");
  }
  LossSums onCpu;
  cpu::addFrequencyTerm(weighted(kWeight), b.prediction.data(), b.target.data(), b.batch, b.height, b.width, nullptr, 1,
                        onCpu);
  near(first.sum.download()[0], share * onCpu.frequency, 2e-6 * wanted.value, what + ": value of the CPU");
}

// A captured launch reads the weight from memory.
void replays(cudaStream_t stream) {
  const FrequencyBatch b = frequencyBatch(1, 6, 10);
  DeviceArray<LossParameters> parameters(parametersOf(b, kWeight, 1));
  Arrays arrays(b, 8);
  cuda::Graph graph;
  graph.capture(stream, [&] { arrays.launch(parameters, b, 8, stream); });
  for (float weight : {kWeight, 0.3f}) {
    parameters.upload(parametersOf(b, weight, 1));
    CUDA_OK(cudaDeviceSynchronize());
    graph.launch(stream);
    CUDA_OK(cudaStreamSynchronize(stream));
    const double wanted = frequencyReference(b.prediction, b.target, 1, 6, 10, weight).value;
    near(arrays.sum.download()[0], wanted, 2e-6 * wanted, "a replay with another weight");
  }
}

void notFinite(cudaStream_t stream) {
  FrequencyBatch b = frequencyBatch(1, 4, 6);
  b.prediction[9] = std::numeric_limits<float>::quiet_NaN();
  const DeviceArray<LossParameters> parameters(parametersOf(b, kWeight, 1));
  Arrays arrays(b, 8);
  arrays.launch(parameters, b, 8, stream);
  check(!std::isfinite(arrays.sum.download()[0]), "a value that is not finite shows");
}

}  // namespace

int main() {
  const Stream stream;
  const int shapes[][3] = {{1, 1, 1}, {2, 1, 6}, {1, 9, 1}, {2, 5, 7}, {1, 8, 8}, {1, 24, 18}};
  for (const auto& [batch, height, width] : shapes) compare(frequencyBatch(batch, height, width), 8, batch, stream);
  for (int stride : {3, 4}) compare(frequencyBatch(2, 4, 6), stride, 2, stream);
  compare(frequencyBatch(2, 4, 6), 8, 5, stream);
  replays(stream);
  notFinite(stream);
  return finish();
}

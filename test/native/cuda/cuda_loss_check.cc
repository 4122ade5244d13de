// Checks of native/cuda/loss.cu against cpu::evaluateLoss: every kind, D = 1 and 3, 1 to 32 components, all strides, and
// counts that fill neither a thread's pixels nor a block. That the formulas are right is checked in loss_check.cc.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/loss.h"
#include "cuda/loss.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

Mixture someMixture(int dimension, int components) {
  Mixture m;
  m.dimension = dimension;
  Random random{static_cast<uint64_t>(components)};
  const auto uniform = [&] { return 0.5 + 0.5 * random.next(); };
  for (int k = 0; k < components; ++k) {
    m.weights.push_back((k + 1) * 2.0 / (components * (components + 1)));
    double factor[3][3] = {};
    for (int i = 0; i < dimension; ++i) {
      m.means.push_back(0.05 + 0.9 * uniform());
      for (int j = 0; j < i; ++j) factor[i][j] = 0.1 * (uniform() - 0.5);
      factor[i][i] = 0.03 + 0.08 * uniform();
    }
    for (int i = 0; i < dimension; ++i)
      for (int j = 0; j < dimension; ++j) {
        double sum = 0;
        for (int l = 0; l < 3; ++l) sum += factor[i][l] * factor[j][l];
        m.covariances.push_back(sum);
      }
  }
  return m;
}

struct Named {
  std::string name;
  LossSpec spec;
};

LossSpec bd(int dimension, ElementLoss fidelity, int components) {
  LossSpec s;
  s.balanced = true;
  s.element = fidelity;
  s.dimension = dimension;
  s.sigma = 0.05f;
  s.fidelityScale = 0.11f;
  s.mixture = someMixture(dimension, components);
  return s;
}

std::vector<Named> specs() {
  std::vector<Named> out;
  for (const ElementLossInfo& row : elementLosses) {
    out.push_back({row.name, {}});
    out.back().spec.element = row.loss;
  }
  for (int dimension : {1, 3})
    for (auto fidelity : {ElementLoss::L1, ElementLoss::L2})
      for (int components : {1, 8, 32})
        out.push_back({"BD D=" + std::to_string(dimension) + (fidelity == ElementLoss::L1 ? " l1 " : " l2 ") +
                           std::to_string(components) + " components",
                       bd(dimension, fidelity, components)});
  return out;
}

// Planar (3, count): targets in [0, 1], predictions around them, some of them outside and some equal.
struct Batch {
  std::vector<float> prediction, target;
};
Batch someBatch(int64_t count) {
  Random random{static_cast<uint64_t>(count) + 7};
  Batch b;
  for (int64_t i = 0; i < 3 * count; ++i) {
    b.target.push_back(static_cast<float>(0.5 + 0.5 * random.next()));
    b.prediction.push_back(i % 11 == 3 ? b.target.back() : static_cast<float>(b.target.back() + 0.2 * random.next()));
  }
  return b;
}

std::vector<float> interleave(const std::vector<float>& planar, int64_t count, int stride) {
  std::vector<float> out(static_cast<size_t>(count * stride), 0.625f);  // padding that must not count
  for (int64_t p = 0; p < count; ++p)
    for (int c = 0; c < 3; ++c) out[p * stride + c] = planar[c * count + p];
  return out;
}

int64_t lossPixels(const LossSpec& spec, int64_t count) {
  return spec.balanced && spec.dimension == 3 ? count : 3 * count;
}

void near(double got, double wanted, double absolute, double relative, const std::string& what) {
  char text[160];
  std::snprintf(text, sizeof text, ": got %.9g, wanted %.9g", got, wanted);
  check(std::fabs(got - wanted) <= absolute + relative * std::fabs(wanted), what + text);
}

// One launch; sums and gradient (interleaved at the stride) of it.
struct Result {
  std::vector<double> sums;
  std::vector<float> gradient;
};
Result run(const LossSpec& spec, const Batch& batch, int64_t count, int predictionStride, int targetStride,
           int gradientStride, cudaStream_t stream) {
  const float gradientScale = 1.5f;
  DeviceArray<LossParameters> parameters(
      std::vector<LossParameters>(1, makeLossParameters(spec, {lossPixels(spec, count)}, gradientScale)));
  DeviceArray<float> prediction(interleave(batch.prediction, count, predictionStride));
  DeviceArray<float> target(interleave(batch.target, count, targetStride));
  DeviceArray<float> gradient(static_cast<size_t>(count * gradientStride));
  DeviceArray<double> sums(kLossSums), again(kLossSums);
  DeviceArray<unsigned char> scratch(lossScratch(count));
  CUDA_OK(cudaMemset(scratch.data(), 0, 16));
  float* const to = gradientStride > 0 ? gradient.data() : nullptr;
  for (double* into : {sums.data(), again.data()})
    loss(parameters.data(), prediction.data(), predictionStride, target.data(), targetStride, to, gradientStride, count,
         into, scratch.data(), stream);
  const std::vector<double> first = sums.download(), second = again.download();
  bool same = true;
  for (int i = 0; i < kLossSums; ++i)
    same = same && (first[i] == second[i] || (std::isnan(first[i]) && std::isnan(second[i])));
  check(same, "the same sums when run again");
  return {first, gradient.download()};
}

void compareWithCpu(const Named& n, int64_t count, int predictionStride, int targetStride, int gradientStride,
                    cudaStream_t stream) {
  const std::string what = n.name + ", " + std::to_string(count) + " pixels, strides " +
                           std::to_string(predictionStride) + " " + std::to_string(targetStride) + " " +
                           std::to_string(gradientStride);
  const Batch batch = someBatch(count);
  std::vector<float> planar(batch.prediction.size());
  const LossSums wanted =
      cpu::evaluateLoss(n.spec, batch.prediction.data(), batch.target.data(), 1, count, planar.data(), 1.5f);
  const Result got = run(n.spec, batch, count, predictionStride, targetStride, gradientStride, stream);
  const LossSums report = lossReport(n.spec, got.sums.data(), lossPixels(n.spec, count));
  near(report.loss, wanted.loss, 2e-6, 3e-6, what + ": loss");
  near(report.data, wanted.data, 1e-7, 3e-6, what + ": data");
  near(report.balance, wanted.balance, 2e-6, 3e-6, what + ": balance");
  near(report.dataGradient, wanted.dataGradient, 1e-7, 3e-6, what + ": dataGradient");
  near(report.balanceGradient, wanted.balanceGradient, 2e-6, 1e-5, what + ": balanceGradient");
  near(report.sigmaGradient, wanted.sigmaGradient, 1e-4, 1e-5, what + ": sigmaGradient");
  if (gradientStride == 0) return;
  // Padding of a wide gradient is 0. The size of one value's gradient: 1.5 / pixels.
  std::vector<double> expected(static_cast<size_t>(count * gradientStride), 0.0);
  for (int64_t p = 0; p < count; ++p)
    for (int c = 0; c < 3; ++c) expected[p * gradientStride + c] = planar[c * count + p];
  closeTo(got.gradient, expected, 2e-5 / static_cast<double>(lossPixels(n.spec, count)), 2e-5, what + ": gradient");
}

// A value that is not finite makes a loss that is not: that is how a run notices.
void notFinite(const Named& n, cudaStream_t stream) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  for (float value : bad)
    for (bool inTarget : {false, true}) {
      Batch batch = someBatch(5);
      (inTarget ? batch.target : batch.prediction)[7] = value;
      const Result got = run(n.spec, batch, 5, 8, 3, 8, stream);
      const LossSums report = lossReport(n.spec, got.sums.data(), lossPixels(n.spec, 5));
      check(!std::isfinite(report.loss), n.name + (inTarget ? ": target " : ": prediction ") + std::to_string(value) +
                                             " gives a loss that is not finite");
      check(!std::isfinite(got.sums[0]), n.name + ": and such a sum");
    }
}

// A captured launch reads its parameters and pixels from memory, so each replay uses their current values.
void replays(cudaStream_t stream) {
  const int64_t count = 40;
  const Batch batch = someBatch(count);
  const LossSpec first = bd(1, ElementLoss::L1, 4), second = bd(3, ElementLoss::L2, 7);
  const auto parametersOf = [&](const LossSpec& spec) {
    return std::vector<LossParameters>{makeLossParameters(spec, {lossPixels(spec, count)}, 1.5f)};
  };
  DeviceArray<LossParameters> parameters(parametersOf(first));
  DeviceArray<float> prediction(interleave(batch.prediction, count, 8)), target(interleave(batch.target, count, 3)),
      gradient(count * 8);
  DeviceArray<double> sums(kLossSums);
  DeviceArray<unsigned char> scratch(lossScratch(count));
  CUDA_OK(cudaMemset(scratch.data(), 0, 16));
  cuda::Graph graph;
  graph.capture(stream, [&] {
    loss(parameters.data(), prediction.data(), 8, target.data(), 3, gradient.data(), 8, count, sums.data(),
         scratch.data(), stream);
  });
  for (const LossSpec& spec : {first, second, first}) {
    parameters.upload(parametersOf(spec));
    CUDA_OK(cudaDeviceSynchronize());
    graph.launch(stream);
    const Result alone = run(spec, batch, count, 8, 3, 8, stream);
    sameBits(sums.download(), alone.sums, "sums of a replay");
    sameBits(gradient.download(), alone.gradient, "gradient of a replay");
  }
}

void refuses(const LossSpec& spec, const std::string& what) {
  std::string code;
  try {
    makeLossParameters(spec, {1}, 1.f);
  } catch (const Error& error) {
    code = error.code;
  }
  check(code == "WBSR_INVALID_OPTION", what + " is refused");
}

}  // namespace

int main() {
  const Stream stream;
  const std::vector<Named> all = specs();
  for (const Named& n : all) {
    compareWithCpu(n, 1, 8, 3, 8, stream);
    compareWithCpu(n, 523, 8, 8, 8, stream);
    compareWithCpu(n, 1030, 3, 3, 3, stream);
    notFinite(n, stream);
  }
  const Named& three = all.back();
  const Named& one = all[3];
  for (const Named* n : {&one, &three})
    for (int prediction : {3, 4, 8})
      for (int target : {3, 4, 8})
        for (int gradient : {0, 3, 4, 8}) compareWithCpu(*n, 27, prediction, target, gradient, stream);
  replays(stream);
  // More pixels than the blocks take in one round, and none at all.
  compareWithCpu(all[0], 1024 * 512 + 1301, 3, 3, 3, stream);
  const Result none = run(one.spec, someBatch(0), 0, 3, 3, 3, stream);
  for (double sum : none.sums) check(sum == 0, "no pixels: sums are 0");

  LossSpec spec = bd(1, ElementLoss::L1, 4);
  spec.sigma = 0;
  refuses(spec, "sigma 0");
  spec = bd(1, ElementLoss::L1, 4);
  spec.fidelityScale = 0;
  refuses(spec, "fidelityScale 0");
  spec = bd(3, ElementLoss::L1, 4);
  spec.dimension = 1;
  refuses(spec, "a mixture of another dimension");
  return finish();
}

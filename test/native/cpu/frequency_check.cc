// Checks of the frequency term of the training loss on the CPU: every instruction set against direct sums in double and
// finite differences.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/math/frequency.h"
#include "cpu/frequency_loss.h"
#include "cpu/loss_kernels.h"
#include "support/check.h"
#include "support/frequency_reference.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

void near(double got, double wanted, double tolerance, const std::string& what) {
  char text[160];
  std::snprintf(text, sizeof text, ": got %.9g, wanted %.9g, tolerance %.3g", got, wanted, tolerance);
  check(std::fabs(got - wanted) <= tolerance, what + text);
}

LossSpec weighted(float weight) {
  LossSpec spec;
  spec.frequency = weight;
  return spec;
}

struct Result {
  LossSums sums;
  std::vector<float> gradient;
};

// The gradient begins at `before`.
Result run(const simd::FrequencyKernel& kernel, const FrequencyBatch& b, float weight, float gradientScale,
           float before = 0) {
  Result out{{}, std::vector<float>(b.prediction.size(), before)};
  cpu::addFrequencyTermWith(kernel, weighted(weight), b.prediction.data(), b.target.data(), b.batch, b.height, b.width,
                            out.gradient.data(), gradientScale, out.sums);
  return out;
}

void checkTwiddles() {
  const double pi = std::acos(-1.0);
  for (int n = 1; n <= 300; ++n)
    for (int k = 0; k < n; ++k) {
      const math::Twiddle t = math::twiddle(k, n), mirrored = math::twiddle((n - k) % n, n);
      const std::string what = "twiddle " + std::to_string(k) + " of " + std::to_string(n);
      near(t.cos, std::cos(2 * pi * k / n), 3.1e-8, what + ": cos");
      near(t.sin, std::sin(2 * pi * k / n), 3.1e-8, what + ": sin");
      check(mirrored.cos == t.cos && mirrored.sin == -t.sin, what + " is mirrored");
      if (4 * k % n == 0)
        check(std::fabs(t.cos) + std::fabs(t.sin) == 1 && t.cos * t.sin == 0, what + ": a quarter turn is exact");
    }
}

void checkReference(const simd::FrequencyKernel& kernel, const FrequencyBatch& b) {
  const float weight = 0.05f, gradientScale = 1.5f, before = 0.25f;
  const FrequencyReference wanted = frequencyReference(b.prediction, b.target, b.batch, b.height, b.width, weight);
  const Result got = run(kernel, b, weight, gradientScale), added = run(kernel, b, weight, gradientScale, before);
  const std::string what = std::string(kernel.name) + ", " + b.name();
  near(got.sums.frequency, wanted.value, 2e-6 * wanted.value, what + ": value");
  check(got.sums.loss == got.sums.frequency && got.sums.data == 0, what + ": the loss has the term");
  // What a part of a coefficient can add to a value's gradient, times their number.
  const double most = gradientScale * weight / (b.batch * 3.0);
  for (size_t i = 0; i < got.gradient.size(); ++i) {
    near(got.gradient[i], gradientScale * wanted.gradient[i], 2e-6 * most, what + ": gradient");
    near(added.gradient[i] - before, got.gradient[i], 6e-8, what + ": added to the gradient");
  }
  LossSums without;
  cpu::addFrequencyTermWith(kernel, weighted(weight), b.prediction.data(), b.target.data(), b.batch, b.height, b.width,
                            nullptr, 1, without);
  check(without.frequency == got.sums.frequency, what + ": the same value without gradient");
}

// Of the reference's value, which is linear between the zeros of coefficients.
void checkFiniteDifferences(const simd::FrequencyKernel& kernel) {
  FrequencyBatch b = frequencyBatch(1, 6, 9);
  const std::vector<float> gradient = run(kernel, b, 0.5f, 1).gradient;
  const auto value = [&] { return frequencyReference(b.prediction, b.target, 1, 6, 9, 0.5).value; };
  for (size_t i = 0; i < gradient.size(); i += 7) {
    const float at = b.prediction[i], step = 1e-6f;
    b.prediction[i] = at + step;
    const double to = b.prediction[i], above = value();
    b.prediction[i] = at - step;
    const double from = b.prediction[i], below = value();
    b.prediction[i] = at;
    near(gradient[i], (above - below) / (to - from), 1e-6, std::string(kernel.name) + ": finite difference");
  }
}

void checkEdges(const simd::FrequencyKernel& kernel) {
  const std::string name = kernel.name;
  FrequencyBatch b = frequencyBatch(2, 7, 5);
  const Result none = run(kernel, b, 0, 1);
  check(none.sums.frequency == 0 && none.sums.loss == 0, name + ": nothing without weight");
  for (float g : none.gradient) check(g == 0, name + ": no gradient without weight");
  const std::vector<float> prediction = b.prediction;
  b.prediction = b.target;
  const Result equal = run(kernel, b, 0.1f, 1);
  check(equal.sums.frequency == 0, name + ": 0 where prediction and target are equal");
  for (float g : equal.gradient) check(g == 0, name + ": and no gradient");
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    b.prediction = prediction;
    b.prediction[17] = bad;
    check(!std::isfinite(run(kernel, b, 0.1f, 1).sums.loss), name + ": a value that is not finite shows");
  }
}

void checkThreads() {
  const FrequencyBatch b = frequencyBatch(3, 20, 24);
  const int before = omp_get_max_threads();
  std::vector<Result> results;
  for (int threads : {1, 2, 5}) {
    omp_set_num_threads(threads);
    results.push_back(run(*cpu::lossKernels().front().frequency, b, 0.05f, 1));
  }
  omp_set_num_threads(before);
  for (const Result& r : results)
    check(r.sums.frequency == results[0].sums.frequency &&
              std::memcmp(r.gradient.data(), results[0].gradient.data(), r.gradient.size() * sizeof(float)) == 0,
          "the same bits with every number of threads");
}

// Matrices are built once for a size; of the sizes that were used last.
void checkKept() {
  const auto builtFor = [](int height, int width) {
    const int64_t before = cpu::frequencyMatricesBuilt();
    for (int again = 0; again < 3; ++again)
      run(*cpu::lossKernels().front().frequency, frequencyBatch(1, height, width), 0.05f, 1);
    return cpu::frequencyMatricesBuilt() - before;
  };
  check(builtFor(13, 11) == 1, "once for a size");
  check(builtFor(11, 13) == 1, "once for the other way round");
  check(builtFor(13, 11) == 0, "not again");
  for (int height = 1; height < 4; ++height) builtFor(height, 11);
  check(builtFor(13, 11) == 0 && builtFor(11, 13) == 1, "four sizes are kept, those used last");
}

}  // namespace

int main() {
  checkTwiddles();
  std::vector<FrequencyBatch> batches;
  const int shapes[][3] = {{1, 1, 1}, {2, 1, 6},   {1, 9, 1},   {2, 5, 7},
                           {1, 8, 8}, {1, 12, 17}, {1, 34, 20}, {1, 24, 32}};
  for (const auto& [batch, height, width] : shapes) batches.push_back(frequencyBatch(batch, height, width));
  for (const cpu::LossKernels& kernels : cpu::lossKernels()) {
    for (const FrequencyBatch& b : batches) checkReference(*kernels.frequency, b);
    checkFiniteDifferences(*kernels.frequency);
    checkEdges(*kernels.frequency);
  }
  checkThreads();
  checkKept();
  return finish();
}

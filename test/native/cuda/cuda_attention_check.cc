// Channel attention on the device against sums in double precision: the mean over pixels, scaling, and both backward.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/operators/kernels.h"
#include "support/cuda_check.h"

using wbsr::ActivationKind;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

template <typename T>
std::vector<float> noise(size_t count, uint64_t seed) {
  return stored<T>(randomVector(count, seed));
}

template <typename T>
void attention(int batch, int64_t pixels, int channels, const char* type) {
  const std::string name =
      std::string(type) + " " + std::to_string(batch) + "x" + std::to_string(pixels) + "x" + std::to_string(channels);
  const size_t count = static_cast<size_t>(batch * pixels * channels), few = static_cast<size_t>(batch) * channels;
  const std::vector<float> x = noise<T>(count, 1), other = noise<T>(count, 2), factors = noise<float>(few, 3);
  const DeviceArray<T> deviceX(to<T>(x)), deviceOther(to<T>(other));
  const DeviceArray<float> deviceFactors(factors);
  std::vector<double> mean(few, 0.0), product(few, 0.0), spread(count), scaled(count), added(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t at = i / (static_cast<size_t>(pixels) * channels) * channels + i % channels;
    mean[at] += static_cast<double>(x[i]) / static_cast<double>(pixels);
    product[at] += static_cast<double>(x[i]) * other[i];
    spread[i] = static_cast<double>(factors[at]) / static_cast<double>(pixels);
    scaled[i] = static_cast<double>(x[i]) * factors[at];
    added[i] = scaled[i] + other[i];
  }
  const double relative = sizeof(T) == 2 ? 1.0 / 256 : 1e-6;      // of what is rounded to T
  const double sums = 1e-8 * static_cast<double>(pixels) + 1e-6;  // of sums in float, pairwise for the most part

  const DeviceArray<char> scratch(globalPoolScratch(batch, pixels, channels));
  DeviceArray<float> pooled(few), again(few), dFactors(few);
  globalPool<T>(deviceX.data(), pooled.data(), batch, pixels, channels, scratch.data(), nullptr);
  closeTo(pooled.download(), mean, 1e-7, 1e-6, "globalPool " + name);
  globalPool<T>(deviceX.data(), again.data(), batch, pixels, channels, scratch.data(), nullptr);
  sameBits(again.download(), pooled.download(), "globalPool again " + name);
  if (batch > 1) {  // the last image by itself
    DeviceArray<float> alone(static_cast<size_t>(channels));
    globalPool<T>(deviceX.data() + (batch - 1) * pixels * channels, alone.data(), 1, pixels, channels, scratch.data(),
                  nullptr);
    const std::vector<float> whole = pooled.download();
    sameBits(alone.download(), {whole.end() - channels, whole.end()}, "globalPool of one image " + name);
  }
  scaleChannelsBackwardFactors<T>(deviceOther.data(), deviceX.data(), dFactors.data(), batch, pixels, channels,
                                  scratch.data(), nullptr);
  closeTo(dFactors.download(), product, sums, 1e-6, "scaleChannelsBackwardFactors " + name);

  DeviceArray<T> out(count), sum(count), onto(to<T>(other)), inPlace(to<T>(x)), dIn(count);
  globalPoolBackward<T>(deviceFactors.data(), dIn.data(), batch, pixels, channels, nullptr);
  closeTo(toFloat(dIn.download()), spread, 1e-7, relative, "globalPoolBackward " + name);
  scaleChannels<T>(deviceX.data(), deviceFactors.data(), nullptr, out.data(), batch, pixels, channels, nullptr);
  closeTo(toFloat(out.download()), scaled, 1e-7, relative, "scaleChannels " + name);
  scaleChannels<T>(deviceX.data(), deviceFactors.data(), deviceOther.data(), sum.data(), batch, pixels, channels,
                   nullptr);
  closeTo(toFloat(sum.download()), added, 1e-6, relative, "scaleChannels plus addend " + name);
  scaleChannels<T>(deviceX.data(), deviceFactors.data(), onto.data(), onto.data(), batch, pixels, channels, nullptr);
  sameBits(onto.download(), sum.download(), "scaleChannels onto its addend " + name);
  scaleChannels<T>(inPlace.data(), deviceFactors.data(), nullptr, inPlace.data(), batch, pixels, channels, nullptr);
  sameBits(inPlace.download(), out.download(), "scaleChannels in place " + name);
}

// The mean over the pixels, a layer with relu and one with sigmoid, of a slice of larger layers whose centre tap counts.
template <typename T>
void factors(int batch, int64_t pixels, int channels, int squeezed, int outs, bool scattered, const char* type) {
  const std::string name = std::string(type) + " " + std::to_string(batch) + "x" + std::to_string(pixels) + "x" +
                           std::to_string(channels) + " to " + std::to_string(squeezed) + ", " + std::to_string(outs);
  const int wide = (channels + 7) / 8 * 8, outWide = (outs + 7) / 8 * 8, area = 9;
  const std::vector<float> x = noise<T>(static_cast<size_t>(batch * pixels) * wide, 1);
  const DeviceArray<T> deviceX(to<T>(x));
  std::vector<std::unique_ptr<DeviceArray<int>>> tables;
  const auto indexOf = [scattered](int i) { return scattered ? 2 * i + 1 : i; };
  const auto tableOf = [&](int count) -> const int* {
    if (!scattered) return nullptr;
    std::vector<int> table(static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) table[static_cast<size_t>(i)] = indexOf(i);
    tables.push_back(std::make_unique<DeviceArray<int>>(table));
    return tables.back()->data();
  };
  const int full = (scattered ? 2 : 1) * std::max({channels, squeezed, outs}) + 1;
  const auto weights = [&](int rows, uint64_t seed) {
    return noise<float>(static_cast<size_t>((scattered ? 2 : 1) * rows) * full * area, seed);
  };
  const std::vector<float> w1 = weights(squeezed, 3), w2 = weights(outs, 4),
                           bias = noise<float>(static_cast<size_t>(full), 5);
  const DeviceArray<float> onDevice1(w1), onDevice2(w2), biasOn(bias);
  Attention a{batch, pixels, wide, outWide, {}, {}, ActivationKind::Relu, 7.f, ActivationKind::Sigmoid, 0.f};
  a.squeeze = {channels, squeezed, onDevice1.data(), nullptr, full, area, tableOf(squeezed), tableOf(channels)};
  a.excite = {squeezed, outs, onDevice2.data(), biasOn.data(), full, area, tableOf(outs), tableOf(squeezed)};
  check(hasAttention(a), name + ": is supported");

  std::vector<double> expected(static_cast<size_t>(batch) * outWide, 0.0);
  for (int n = 0; n < batch; ++n) {
    std::vector<double> mean(static_cast<size_t>(channels), 0.0), middle(static_cast<size_t>(squeezed), 0.0);
    for (int64_t p = 0; p < pixels; ++p)
      for (int c = 0; c < channels; ++c)
        mean[c] += static_cast<double>(x[static_cast<size_t>(n * pixels + p) * wide + c]) / static_cast<double>(pixels);
    const auto at = [&](const std::vector<float>& w, int o, int i) {
      return static_cast<double>(w[(static_cast<size_t>(indexOf(o)) * full + indexOf(i)) * area + area / 2]);
    };
    for (int o = 0; o < squeezed; ++o) {
      for (int c = 0; c < channels; ++c) middle[o] += at(w1, o, c) * mean[c];
      middle[o] = std::max(middle[o], 0.0);
    }
    for (int o = 0; o < outs; ++o) {
      double sum = bias[static_cast<size_t>(indexOf(o))];
      for (int i = 0; i < squeezed; ++i) sum += at(w2, o, i) * middle[i];
      expected[static_cast<size_t>(n) * outWide + o] = 1 / (1 + std::exp(-sum));
    }
  }
  const int chunks = channelSumChunks(pixels);
  DeviceArray<float> sums(static_cast<size_t>(batch) * chunks * wide);
  const DeviceArray<char> scratch(attentionScratch(a, chunks));
  DeviceArray<float> out(expected.size()), again(expected.size());
#ifdef WBSR_HOST_CUDA
  const uint64_t before = wbsr::host_cuda::launches();
#endif
  channelSums<T>(deviceX.data(), sums.data(), batch, pixels, wide, nullptr);
  attentionFactors(a, sums.data(), chunks, out.data(), scratch.data(), nullptr);
#ifdef WBSR_HOST_CUDA
  check(wbsr::host_cuda::launches() - before == 2, name + ": two launches");
#endif
  closeTo(out.download(), expected, 2e-6, 2e-6, "attentionFactors " + name);
  attentionFactors(a, sums.data(), chunks, again.data(), scratch.data(), nullptr);
  sameBits(again.download(), out.download(), "attentionFactors again " + name);
  // One chunk a pixel, as a convolution's end leaves many: the first launch makes fewer of them.
  DeviceArray<float> values(x);
  const int many = static_cast<int>(pixels);
  const DeviceArray<char> manyScratch(attentionScratch(a, many));
  check((attentionScratch(a, many) > 0) == (many > 512), name + ": many chunks need scratch");
  attentionFactors(a, values.data(), many, again.data(), manyScratch.data(), nullptr);
  closeTo(again.download(), expected, 2e-6, 2e-6, "attentionFactors from sums of single pixels " + name);
}

template <typename T>
void all(const char* type) {
  for (const int channels : {8, 40, 64}) {
    attention<T>(1, 1, channels, type);
    attention<T>(3, 7, channels, type);
    attention<T>(2, 128, channels, type);  // exactly one block of the mean
    attention<T>(2, 131, channels, type);
    attention<T>(0, 5, channels, type);
  }
  attention<T>(1, 2053, 8, type);   // more pixels than threads in a block
  attention<T>(2, 149, 264, type);  // two groups of channels, the second not full
  factors<T>(2, 131, 64, 4, 64, false, type);
  factors<T>(3, 7, 36, 2, 36, true, type);
  factors<T>(1, 641, 8, 33, 300, false, type);
  factors<T>(1, 130, 1100, 3, 20, false, type);  // more channels than a block sums at once
}

}  // namespace

int main() {
  all<float>("float");
  all<bf16>("bf16");
  return finish();
}

// Channel attention on the device against sums in double precision: the mean over pixels, scaling, and both backward.
#include <string>
#include <vector>

#include "cuda/operators/kernels.h"
#include "support/cuda_check.h"

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
}

}  // namespace

int main() {
  all<float>("float");
  all<bf16>("bf16");
  return finish();
}

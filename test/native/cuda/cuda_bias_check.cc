// Gradients of biases (native/cuda/conv/bias_gradient.cu, then native/cuda/gradient_sums.h) against sums in double, on channel
// counts and pixels that do not fill the blocks.
#include <cmath>
#include <string>
#include <vector>

#include "cuda/program/layout.h"
#include "cuda/conv/kernels.h"
#include "support/gradient_parts.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

template <typename T>
std::vector<float> values(const DeviceArray<T>& array) {
  return toFloat(array.download());
}

struct Case {
  int64_t pixels;
  int channels, groups;
};

template <typename T>
void run(const Case& c, cudaStream_t stream) {
  const int wide = padded(c.channels / c.groups), paddedChannels = c.groups * wide;
  const uint64_t seed = static_cast<uint64_t>(c.pixels) * 31 + static_cast<uint64_t>(c.channels);
  const std::vector<float> dy =
      stored<T>(randomVector(static_cast<size_t>(c.pixels * paddedChannels), seed, -0.8, 1.2));
  const std::vector<float> before = randomVector(static_cast<size_t>(c.channels), seed + 1);
  std::vector<double> expected(before.begin(), before.end());
  for (int i = 0; i < c.channels; ++i)
    for (int64_t p = 0; p < c.pixels; ++p) expected[i] += dy[p * paddedChannels + i % c.groups * wide + i / c.groups];

  DeviceArray<T> in(to<T>(dy));
  DeviceArray<float> gradient(before), again(before);
  GradientSums sums;
  ChannelSum sum{0, 0, biasChunks(c.pixels, paddedChannels), paddedChannels, c.channels};
  sum.groups = c.groups;
  const int64_t at = sums.add(sum);
  GradientParts parts(sums);
  for (DeviceArray<float>* onto : {&gradient, &again}) {
    biasSums(in.data(), parts.at<float>(at), c.pixels, paddedChannels, stream);
    parts.addTo(onto->data(), stream);
    parts.memory.spoil();
  }
  const std::string what = std::string("bias gradient ") + (sizeof(T) == 2 ? "bf16 " : "float ") +
                           std::to_string(c.pixels) + " pixels, " + std::to_string(c.channels) + " channels, " +
                           std::to_string(c.groups) + " groups";
  // Sums may cancel: the tolerance goes with the size of what is added, about pixels / 2.
  closeTo(values(gradient), expected, 1e-6 * (1 + 0.2 * std::sqrt(static_cast<double>(c.pixels))), 1e-6, what);
  sameBits(gradient.download(), again.download(), what + " again");
}

}  // namespace

int main() {
  const Stream stream;
  const Case cases[] = {
      {0, 8, 1},     {1, 3, 1},     {1, 64, 1},   {37, 36, 1},  {1021, 64, 1}, {4099, 3, 1}, {2053, 40, 1},
      {333, 208, 4}, {149, 144, 4}, {131, 12, 4}, {67, 324, 9}, {600, 4, 1},   {7, 4200, 1}, {33, 1024, 1},
  };
  for (const Case& c : cases) {
    run<float>(c, stream);
    run<bf16>(c, stream);
  }
#ifndef __SANITIZE_THREAD__            // the same barriers as above, and half a minute
  run<bf16>({8401, 2048, 1}, stream);  // more than one run per thread
#endif
  return finish();
}

// Pixel shuffle and its backward on the device against plain loops, bit for bit: values move, an activation is one
// multiplication.
#include <cmath>
#include <string>
#include <vector>

#include "cuda/program/layout.h"
#include "cuda/operators/kernels.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

template <typename T>
std::vector<float> noise(size_t count, uint64_t seed) {
  return stored<T>(randomVector(count, seed));
}

// Where the channel that becomes (c, i, j) of large lies in a pixel of small.
int smallChannel(const ShuffleShape& s, int c, int i, int j) {
  return s.shuffled ? (i * s.factor + j) * padded(s.channels) + c : (c * s.factor + i) * s.factor + j;
}

float slopeOf(const ShuffleShape& s) {
  return s.activation == ActivationKind::None ? 1.f : s.activation == ActivationKind::Relu ? 0.f : s.slope;
}

std::string nameOf(const ShuffleShape& s, const char* types) {
  return std::string("shuffle ") + types + " " + std::to_string(s.batch) + "x" + std::to_string(s.height) + "x" +
         std::to_string(s.width) + " r" + std::to_string(s.factor) + " c" + std::to_string(s.channels) +
         (s.shuffled ? " shuffled" : "") + " activation " + std::to_string(static_cast<int>(s.activation));
}

template <typename Small, typename Large>
void shuffle(const ShuffleShape& s, const char* types) {
  const int square = s.factor * s.factor, largeChannels = padded(s.channels);
  const int smallChannels = s.shuffled ? square * padded(s.channels) : padded(s.channels * square);
  const int H = s.height * s.factor, W = s.width * s.factor;
  const size_t smallCount = static_cast<size_t>(s.batch) * s.height * s.width * smallChannels;
  const size_t largeCount = static_cast<size_t>(s.batch) * H * W * largeChannels;
  const std::vector<float> small = noise<Small>(smallCount, 1), dLarge = noise<Large>(largeCount, 2),
                           y = noise<Large>(largeCount, 3);
  const DeviceArray<Small> deviceSmall(to<Small>(small));
  const DeviceArray<Large> deviceDLarge(to<Large>(dLarge)), deviceY(to<Large>(y));
  DeviceArray<Large> large(largeCount);
  DeviceArray<Small> dSmall(smallCount);
  pixelShuffle(s, deviceSmall.data(), large.data(), nullptr);
  const bool active = s.activation != ActivationKind::None;
  pixelShuffleBackward(s, deviceDLarge.data(), active ? deviceY.data() : nullptr, dSmall.data(), nullptr);

  std::vector<float> expected(largeCount, 0.f), expectedSmall(smallCount, 0.f), got = toFloat(large.download());
  const float slope = slopeOf(s);
  bool finite = true;
  for (int n = 0; n < s.batch; ++n)
    for (int Y = 0; Y < H; ++Y)
      for (int X = 0; X < W; ++X) {
        const size_t largeAt = ((static_cast<size_t>(n) * H + Y) * W + X) * largeChannels;
        const size_t smallAt =
            ((static_cast<size_t>(n) * s.height + Y / s.factor) * s.width + X / s.factor) * smallChannels;
        for (int c = 0; c < s.channels; ++c) {
          const size_t fromAt = smallAt + smallChannel(s, c, Y % s.factor, X % s.factor), toAt = largeAt + c;
          expected[toAt] = stored<Large>(small[fromAt] > 0 ? small[fromAt] : small[fromAt] * slope);
          expectedSmall[fromAt] = stored<Small>(!active || y[toAt] > 0 ? dLarge[toAt] : dLarge[toAt] * slope);
        }
        for (int c = s.channels; c < largeChannels; ++c) {
          finite = finite && std::isfinite(got[largeAt + c]);
          got[largeAt + c] = 0;
        }
      }
  check(finite, "finite padding, " + nameOf(s, types));
  sameBits(got, expected, nameOf(s, types));
  sameBits(toFloat(dSmall.download()), expectedSmall, "backward " + nameOf(s, types));  // padding too: it becomes 0
}

template <typename Small, typename Large>
void shuffles(const char* types, bool largeThin) {
  struct Size {
    int batch, height, width;
  };
  const ActivationKind kinds[] = {ActivationKind::None, ActivationKind::Relu, ActivationKind::LeakyRelu};
  int turn = 0;
  for (const Size size : {Size{1, 1, 1}, Size{2, 3, 5}, Size{1, 2, 67}, Size{0, 3, 3}})
    for (const int factor : {1, 2, 3, 4, 5, 8})
      for (const int channels : {1, 3, 8, 13, 40, 72})
        for (const bool shuffled : {false, true}) {
          if (largeThin && (shuffled || channels > 7)) continue;
          if ((channels > 13 && size.width > 5) || (factor > 4 && size.width > 5)) continue;  // time
          const ShuffleShape s{size.batch, size.height, size.width,        factor, channels,
                               shuffled,   largeThin,   kinds[turn++ % 3], 0.1f};
          shuffle<Small, Large>(s, types);
        }
}

}  // namespace

int main() {
  shuffles<bf16, bf16>("bf16", false);
  shuffles<float, float>("float", false);
  shuffles<float, float>("float thin", true);
  shuffles<bf16, float>("bf16 to float", true);
  shuffle<float, float>({1, 2, 3, 8, 72, false, false, ActivationKind::LeakyRelu, 0.2f},
                        "float");  // several blocks of channels
  return finish();
}

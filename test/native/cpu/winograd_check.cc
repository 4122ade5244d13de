// Our own Winograd kernel, every set that this processor can run, against a plain convolution in double precision: sizes
// around the tile, channels of one to five blocks, padded channels, every finish; and that a tile's values do not depend on
// which tiles run with it; what it writes shuffled. The gradient of the weights likewise.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "core/error.h"
#include "cpu/simd/kernels.h"
#include "cpu/winograd.h"
#include "support/own_kernels.h"

using namespace wbsr;
using wbsr::test::check;
using wbsr::test::finished;
using wbsr::test::noise;

namespace {

using Kind = simd::Finish::Kind;

struct Case {
  int in, out, h, w;  // channels in blocks
  Kind kind;
  bool residual;
  float slope;      // Leaky: that of the first channel; others have their own
  int padding = 0;  // channels at the end of the input that are not read
};

void compare(const simd::Winograd& kernel, const Case& c) {
  const int L = kernel.lanes, in = c.in * L, out = c.out * L, batch = 2;
  const std::string at = std::to_string(L) + " lanes, " + std::to_string(c.in) + " to " + std::to_string(c.out) +
                         " blocks, " + std::to_string(c.w) + "x" + std::to_string(c.h);
  const cpu::Layout from{cpu::Layout::Blocked, L, c.in, c.in, c.h, c.w},
      to{cpu::Layout::Blocked, L, c.out, c.out, c.h, c.w};
  const auto x = noise(static_cast<size_t>(from.image()) * batch, 1),
             dense = noise(static_cast<size_t>(out) * in * 9, 2), bias = noise(static_cast<size_t>(out), 3),
             residual = noise(static_cast<size_t>(to.image()) * batch, 4);
  std::vector<float> slopes(static_cast<size_t>(out));
  for (size_t o = 0; o < slopes.size(); ++o) slopes[o] = c.slope + 0.01f * static_cast<float>(o);
  const std::vector<float> weights = cpu::packWinograd(dense, out, in, L);
  std::vector<float> y(residual.size(), NAN);
  cpu::Buffer scratch;
  const simd::Finish finish{c.kind, bias.data(), slopes.data(), c.residual ? residual.data() : nullptr, test::kGate};
  cpu::runWinograd(kernel, {from, to, batch, x.data(), weights.data(), finish, y.data(), in - c.padding}, scratch);
  const auto place = [&c, L](const cpu::Layout& l, int n, int channel, int row, int column) {
    return static_cast<size_t>(n * l.image() + ((int64_t{channel / L} * c.h + row) * c.w + column) * L + channel % L);
  };
  double worst = 0;
  for (int n = 0; n < batch; ++n)
    for (int o = 0; o < out; ++o)
      for (int row = 0; row < c.h; ++row)
        for (int column = 0; column < c.w; ++column) {
          double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
          for (int i = 0; i < in - c.padding; ++i)
            for (int ky = -1; ky <= 1; ++ky)
              for (int kx = -1; kx <= 1; ++kx) {
                const int yy = row + ky, xx = column + kx;
                if (yy < 0 || yy >= c.h || xx < 0 || xx >= c.w) continue;
                sum += static_cast<double>(dense[(static_cast<size_t>(o) * in + i) * 9 + (ky + 1) * 3 + kx + 1]) *
                       static_cast<double>(x[place(from, n, i, yy, xx)]);
              }
          const double added = c.residual ? static_cast<double>(residual[place(to, n, o, row, column)]) : 0;
          sum = finished(c.kind, sum, static_cast<double>(slopes[static_cast<size_t>(o)]), added);
          worst = std::max(worst, std::fabs(sum - static_cast<double>(y[place(to, n, o, row, column)])));
        }
  // Sums of 9 in products, each below 1; the transforms multiply rounding errors by about 20.
  check(worst < 2e-6 * std::sqrt(9.0 * in) * 20, at + ": " + std::to_string(worst));

  // One tile at a time, with another one's leftovers in the working memory.
  std::vector<int64_t> blocks;
  for (int b = 0; b < c.out; ++b) blocks.push_back(int64_t{b} * c.h * c.w * L);
  std::vector<float> single(static_cast<size_t>(to.image()), NAN);
  std::vector<float> memory(static_cast<size_t>(kernel.scratch(c.in, c.out)), 7.f);
  const simd::WinogradConv conv{x.data(), weights.data(), finish, single.data(), blocks.data(), int64_t{c.w} * L,
                                L,        c.in,           c.out,  c.h,           c.w,           in - c.padding};
  for (int tile = simd::winogradTiles(c.h, c.w) - 1; tile >= 0; --tile) kernel.run(conv, tile, 1, memory.data());
  check(std::memcmp(single.data(), y.data(), single.size() * sizeof(float)) == 0, at + ": tiles one by one");

  // All in one call, in no more memory than the kernel asks for: AddressSanitizer sees what it reads behind that.
  std::fill(single.begin(), single.end(), NAN);
  kernel.run(conv, 0, simd::winogradTiles(c.h, c.w), memory.data());
  check(std::memcmp(single.data(), y.data(), single.size() * sizeof(float)) == 0, at + ": tiles in one call");
}

// A convolution that writes the enlarged map, against the same one and a plain shuffle.
void compareShuffled(const simd::Winograd& kernel, int blocks, int factor, int h, int w) {
  const int L = kernel.lanes, groups = factor * factor, batch = 2, out = groups * blocks * L;
  const cpu::Layout from{cpu::Layout::Blocked, L, 2, 2, h, w},
      small{cpu::Layout::Blocked, L, groups * blocks, blocks, h, w},
      large{cpu::Layout::Blocked, L, blocks, blocks, h * factor, w * factor};
  const auto x = noise(static_cast<size_t>(from.image()) * batch, 7),
             dense = noise(static_cast<size_t>(out) * 18 * L, 8), bias = noise(static_cast<size_t>(out), 9);
  const std::vector<float> weights = cpu::packWinograd(dense, out, 2 * L, L);
  const simd::Finish finish{Kind::Silu, bias.data(), nullptr, nullptr, 0.f};
  cpu::Buffer scratch;
  std::vector<float> apart(static_cast<size_t>(small.image()) * batch, NAN), direct(apart), shuffled(apart);
  cpu::runWinograd(kernel, {from, small, batch, x.data(), weights.data(), finish, apart.data(), 2 * L}, scratch);
  cpu::runWinograd(kernel, {from, small, batch, x.data(), weights.data(), finish, direct.data(), 2 * L, factor},
                   scratch);
  for (int n = 0; n < batch; ++n)
    for (int i = 0; i < factor; ++i)
      for (int j = 0; j < factor; ++j)
        for (int b = 0; b < blocks; ++b)
          for (int y = 0; y < h; ++y)
            for (int column = 0; column < w; ++column)
              std::memcpy(&shuffled[static_cast<size_t>(
                              n * large.image() +
                              ((int64_t{b} * large.h + y * factor + i) * large.w + column * factor + j) * L)],
                          &apart[static_cast<size_t>(
                              n * small.image() + ((int64_t{(i * factor + j) * blocks + b} * h + y) * w + column) * L)],
                          sizeof(float) * static_cast<size_t>(L));
  check(std::memcmp(direct.data(), shuffled.data(), direct.size() * sizeof(float)) == 0,
        "shuffle by " + std::to_string(factor) + ", " + std::to_string(blocks) + " blocks, " + std::to_string(w) + "x" +
            std::to_string(h));
}

// The gradient of the weights, against plain sums in double precision, and that it is the same for any threads.
void compareGradient(const simd::Winograd& kernel, int blocksIn, int blocksOut, int h, int w, int batch, int padding) {
  const int L = kernel.lanes, in = blocksIn * L, out = blocksOut * L, channels = in - padding;
  const std::string at = "gradient of " + std::to_string(L) + " lanes, " + std::to_string(blocksIn) + " to " +
                         std::to_string(blocksOut) + " blocks, " + std::to_string(w) + "x" + std::to_string(h);
  const cpu::Layout from{cpu::Layout::Blocked, L, blocksIn, blocksIn, h, w},
      to{cpu::Layout::Blocked, L, blocksOut, blocksOut, h, w};
  const auto x = noise(static_cast<size_t>(from.image()) * batch, 5),
             gradOut = noise(static_cast<size_t>(to.image()) * batch, 6);
  std::vector<float> dense(static_cast<size_t>(out) * channels * 9, NAN), bias(static_cast<size_t>(out), NAN);
  cpu::Buffer scratch;
  const cpu::WinogradGradientImages images{from, to, batch, x.data(), gradOut.data(), channels};
  const auto into = [&](std::vector<float>& to) {
    return [&to, channels, out](int i, const float* filters) {
      for (size_t o = 0; o < static_cast<size_t>(out); ++o)
        for (size_t t = 0; t < 9; ++t)
          to[(o * static_cast<size_t>(channels) + static_cast<size_t>(i)) * 9 + t] =
              filters[t * static_cast<size_t>(out) + o];
    };
  };
  cpu::runWinogradGradient(kernel, images, into(dense), bias.data(), scratch);
  const auto place = [h, w, L](const cpu::Layout& l, int n, int channel, int row, int column) {
    return static_cast<size_t>(n * l.image() + ((int64_t{channel / L} * h + row) * w + column) * L + channel % L);
  };
  double worst = 0, worstBias = 0;
  // Channels of different blocks and at the ends of one; all of them would take minutes.
  for (int o = 0; o < out; o += o % L == 0 ? L - 1 : 1) {
    double ofBias = 0;
    for (int n = 0; n < batch; ++n)
      for (int row = 0; row < h; ++row)
        for (int column = 0; column < w; ++column) ofBias += static_cast<double>(gradOut[place(to, n, o, row, column)]);
    worstBias = std::max(worstBias, std::fabs(ofBias - static_cast<double>(bias[static_cast<size_t>(o)])));
    for (int i = 0; i < channels; ++i)
      for (int t = 0; t < 9; ++t) {
        double sum = 0;
        for (int n = 0; n < batch; ++n)
          for (int row = 0; row < h; ++row)
            for (int column = 0; column < w; ++column) {
              const int yy = row + t / 3 - 1, xx = column + t % 3 - 1;
              if (yy < 0 || yy >= h || xx < 0 || xx >= w) continue;
              sum += static_cast<double>(gradOut[place(to, n, o, row, column)]) *
                     static_cast<double>(x[place(from, n, i, yy, xx)]);
            }
        const float got = dense[(static_cast<size_t>(o) * static_cast<size_t>(channels) + i) * 9 + t];
        worst = std::max(worst, std::fabs(sum - static_cast<double>(got)));
      }
  }
  const double pixels = static_cast<double>(batch) * h * w;
  check(worst < 2e-6 * std::sqrt(pixels) * 10, at + ": " + std::to_string(worst));
  check(worstBias < 2e-6 * std::sqrt(pixels) * 10, at + ", bias: " + std::to_string(worstBias));

  const int threads = omp_get_max_threads();
  std::vector<float> again(dense.size(), NAN), biasAgain(bias.size(), NAN);
  omp_set_num_threads(3);
  cpu::runWinogradGradient(kernel, images, into(again), biasAgain.data(), scratch);
  omp_set_num_threads(threads);
  check(std::memcmp(again.data(), dense.data(), dense.size() * sizeof(float)) == 0 &&
            std::memcmp(biasAgain.data(), bias.data(), bias.size() * sizeof(float)) == 0,
        at + ": three threads");
}

const simd::Winograd* kernelOf(int lanes) {
  try {
    return simd::winograd(lanes);
  } catch (const Error&) {
    return nullptr;  // not on this processor
  }
}

}  // namespace

int main() {
  for (const int lanes : {16, 8}) {
    const simd::Winograd* kernel = kernelOf(lanes);
    if (!kernel) continue;
    for (const auto& [h, w] : {std::pair{1, 1}, {4, 4}, {5, 3}, {9, 13}, {38, 38}, {4, 70}, {3, 92}})
      for (const auto& [in, out] : {std::pair{1, 1}, {2, 1}, {1, 2}, {3, 3}, {2, 4}, {4, 5}, {1, 7}})
        for (const Kind kind : {Kind::Leaky, Kind::Silu, Kind::Gate}) {
          const bool residual = kind == Kind::Gate || (h + in) % 2 == 0;
          compare(*kernel, {in, out, h, w, kind, residual, h == 5 ? 0.f : 0.1f, in == 3 ? 5 : 0});
        }
    for (const int factor : {2, 3})
      for (const int blocks : {1, 3})
        for (const auto& [h, w] : {std::pair{1, 1}, {9, 13}}) compareShuffled(*kernel, blocks, factor, h, w);
    for (const auto& [h, w, batch] : {std::tuple{1, 1, 1}, {4, 4, 2}, {5, 3, 2}, {9, 13, 3}, {38, 38, 4}, {3, 92, 2}})
      for (const auto& [in, out] : {std::pair{1, 1}, {2, 1}, {1, 2}, {3, 3}, {2, 5}})
        compareGradient(*kernel, in, out, h, w, batch, in == 3 ? 5 : 0);
  }
  return test::finish();
}

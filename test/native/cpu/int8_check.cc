// Our own 8-bit convolution, where this processor has AMX, against plain loops over the same integers: sizes around the
// tile, channels of one to six blocks, every finish; and that a row's values do not depend on which rows run with it, nor a
// picture's on the batch.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cpu/conv_primitives.h"
#include "cpu/int8.h"
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
  bool residual, positive;  // inputs of one sign, as behind a ReLU
};

void compare(const simd::Int8& kernel, const Case& c) {
  const int L = kernel.lanes, in = c.in * L, out = c.out * L, batch = 2;
  const std::string at = std::to_string(c.in) + " to " + std::to_string(c.out) + " blocks, " + std::to_string(c.w) +
                         "x" + std::to_string(c.h);
  const cpu::Layout from{cpu::Layout::Blocked, L, c.in, c.in, c.h, c.w},
      to{cpu::Layout::Blocked, L, c.out, c.out, c.h, c.w};
  auto x = noise(static_cast<size_t>(from.image()) * batch, 1);
  for (size_t i = 0; i < x.size(); ++i) {
    if (c.positive) x[i] = std::fabs(x[i]);
    if (i >= x.size() / 2) x[i] *= 3.f;                 // each picture has a range of its own
    if (i % static_cast<size_t>(L) == 3) x[i] *= 50.f;  // and each channel
    if (i % static_cast<size_t>(L) == 5) x[i] = 0.f;
  }
  const auto dense = noise(static_cast<size_t>(out) * in * 9, 2), bias = noise(static_cast<size_t>(out), 3),
             residual = noise(static_cast<size_t>(to.image()) * batch, 4);
  std::vector<float> slopes(static_cast<size_t>(out));
  for (size_t o = 0; o < slopes.size(); ++o) slopes[o] = 0.01f * static_cast<float>(o);
  const cpu::Int8Weights weights = cpu::packInt8(dense, out, in, L);
  std::vector<float> y(residual.size(), NAN);
  cpu::Buffer scratch;
  const simd::Finish finish{c.kind, bias.data(), slopes.data(), c.residual ? residual.data() : nullptr, test::kGate};
  cpu::Int8Scales scales;
  const auto stored =
      cpu::runInt8(kernel, {from, to, batch, x.data(), weights, finish, y.data(), nullptr}, scales, scratch);

  const auto place = [&c, L](const cpu::Layout& l, int n, int channel, int row, int column) {
    return static_cast<size_t>(n * l.image() + ((int64_t{channel / L} * c.h + row) * c.w + column) * L + channel % L);
  };
  // Of the second picture.
  const auto activation = [&](int i, float v) {
    const float steps = v * scales.inverses[static_cast<size_t>(i)];
    return int64_t{std::clamp(static_cast<int>(std::nearbyint(steps)) + scales.zero, 0, 255)};
  };
  std::vector<float> largest(static_cast<size_t>(out), 0.f);
  const auto factor = [&](int i) { return scales.factors[static_cast<size_t>(i)]; };
  for (size_t k = 0; k < dense.size(); ++k) {
    float& most = largest[k / (static_cast<size_t>(in) * 9)];
    most = std::max(most, std::fabs(dense[k] * factor(static_cast<int>(k / 9) % in)));
  }
  const auto weight = [&](int o, int i, float w) {
    return int64_t{static_cast<int>(std::nearbyint(w * factor(i) * (1.f / (largest[static_cast<size_t>(o)] / 127.f))))};
  };
  double worst = 0, error = 0, power = 0;
  for (int o = 0; o < out; ++o)
    for (int row = 0; row < c.h; ++row)
      for (int column = 0; column < c.w; ++column) {
        int64_t sum = -int64_t{scales.offsets[static_cast<size_t>(o)]};
        double exact = 0;
        for (int i = 0; i < in; ++i)
          for (int t = 0; t < 9; ++t) {
            const int yy = row + t / 3 - 1, xx = column + t % 3 - 1;
            const bool inside = yy >= 0 && yy < c.h && xx >= 0 && xx < c.w;
            const float w = dense[(static_cast<size_t>(o) * in + i) * 9 + t];
            const float v = inside ? x[place(from, 1, i, yy, xx)] : 0.f;
            sum += weight(o, i, w) * activation(i, v);
            exact += static_cast<double>(w) * static_cast<double>(v);
          }
        const double b = static_cast<double>(bias[static_cast<size_t>(o)]);
        const double v = static_cast<double>(sum) * static_cast<double>(scales.scales[static_cast<size_t>(o)]);
        error += (v - exact) * (v - exact);
        power += exact * exact;
        const double added = c.residual ? static_cast<double>(residual[place(to, 1, o, row, column)]) : 0;
        const double wanted = finished(c.kind, v + b, static_cast<double>(slopes[static_cast<size_t>(o)]), added);
        worst = std::max(worst, std::fabs(wanted - static_cast<double>(y[place(to, 1, o, row, column)])) /
                                    std::max(1.0, std::fabs(wanted)));
      }
  check(worst < 1e-5, at + ": " + std::to_string(worst));
  check(std::sqrt(error / power) < 0.01, at + ": 8 bits lose " + std::to_string(std::sqrt(error / power)));

  // Row by row, in no more memory than the kernel asks for; and without the other picture.
  std::vector<float> single(static_cast<size_t>(to.image()), NAN);
  std::vector<uint8_t> memory(static_cast<size_t>(kernel.scratch(c.in, c.h, c.w)), 7);
  simd::Finish ofSecond = finish;
  if (ofSecond.residual) ofSecond.residual += to.image();
  const simd::Int8Conv conv{x.data() + from.image(),
                            scales.inverses.data(),
                            scales.zero,
                            scales.weights.data(),
                            scales.offsets.data(),
                            scales.scales.data(),
                            ofSecond,
                            single.data(),
                            c.in,
                            c.out,
                            c.h,
                            c.w};
  const float* second = y.data() + to.image();
  cpu::ChannelRanges ranges{std::vector<float>(static_cast<size_t>(out), 0.f),
                            std::vector<float>(static_cast<size_t>(out), 0.f)};
  const auto same = [&] { return std::memcmp(single.data(), second, single.size() * sizeof(float)) == 0; };
  for (int row = c.h - 1; row >= 0; --row)
    kernel.run(conv, row, 1, memory.data(), ranges.low.data(), ranges.high.data());
  check(same(), at + ": rows one by one");
  std::fill(single.begin(), single.end(), NAN);
  kernel.run(conv, 0, c.h, memory.data(), ranges.low.data(), ranges.high.data());
  check(same(), at + ": all rows in one call");
  std::fill(single.begin(), single.end(), NAN);
  cpu::runInt8(kernel, {from, to, 1, x.data() + from.image(), weights, ofSecond, single.data(), nullptr}, scales,
               scratch);
  check(same(), at + ": alone");

  // The ranges of what was stored; with those of the input given, the same again.
  cpu::ChannelRanges wanted{std::vector<float>(static_cast<size_t>(out), 0.f),
                            std::vector<float>(static_cast<size_t>(out), 0.f)};
  for (int b = 0; b < c.out; ++b)
    kernel.range(second + int64_t{b} * c.h * c.w * L, int64_t{c.h} * c.w, wanted.low.data() + b * L,
                 wanted.high.data() + b * L);
  check(stored.size() == 2 && stored[1].low == wanted.low && stored[1].high == wanted.high, at + ": ranges");
  check(ranges.low == wanted.low && ranges.high == wanted.high, at + ": ranges of rows");
  std::vector<cpu::ChannelRanges> given{
      {std::vector<float>(static_cast<size_t>(in), 0.f), std::vector<float>(static_cast<size_t>(in), 0.f)}};
  for (int b = 0; b < c.in; ++b)
    kernel.range(x.data() + from.image() + int64_t{b} * c.h * c.w * L, int64_t{c.h} * c.w, given[0].low.data() + b * L,
                 given[0].high.data() + b * L);
  std::fill(single.begin(), single.end(), NAN);
  cpu::runInt8(kernel, {from, to, 1, x.data() + from.image(), weights, ofSecond, single.data(), &given}, scales,
               scratch);
  check(same(), at + ": with ranges");
}

// Zeros give the bias; what is not finite gives what is not a number.
void notNumbers(const simd::Int8& kernel) {
  const int L = kernel.lanes;
  const cpu::Layout layout{cpu::Layout::Blocked, L, 1, 1, 2, 3};
  const std::vector<float> dense(static_cast<size_t>(L) * L * 9, 0.5f), bias(static_cast<size_t>(L), 0.25f);
  std::vector<float> x(static_cast<size_t>(layout.image()), 0.f), y(x.size(), NAN);
  const cpu::Int8Weights weights = cpu::packInt8(dense, L, L, L);
  cpu::Buffer scratch;
  cpu::Int8Scales scales;
  const simd::Finish finish{Kind::Leaky, bias.data(), nullptr, nullptr, 0.f};
  cpu::runInt8(kernel, {layout, layout, 1, x.data(), weights, finish, y.data(), nullptr}, scales, scratch);
  check(std::all_of(y.begin(), y.end(), [](float v) { return v == 0.25f; }), "zeros alone");
  x[7] = INFINITY;
  cpu::runInt8(kernel, {layout, layout, 1, x.data(), weights, finish, y.data(), nullptr}, scales, scratch);
  check(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }), "infinity is not hidden");
}

}  // namespace

int main() {
  const simd::Int8* kernel = simd::int8(cpu::lanesOfBlocks());
  if (!kernel) {
    std::printf("no AMX here\n");
    return test::finish();
  }
  for (const auto& [h, w] : {std::pair{1, 1}, {4, 4}, {5, 3}, {9, 13}, {38, 38}, {3, 92}})
    for (const auto& [in, out] : {std::pair{1, 1}, {2, 1}, {1, 2}, {3, 3}, {2, 4}, {4, 5}, {5, 1}, {6, 2}})
      for (const Kind kind : {Kind::Leaky, Kind::Silu, Kind::Gate}) {
        if (h == 38 && kind != Kind::Leaky) continue;  // large enough for several bands
        compare(*kernel, {in, out, h, w, kind, kind == Kind::Gate || (h + in) % 2 == 0, (in + out) % 2 == 0});
      }
  notNumbers(*kernel);
  return test::finish();
}

// Our own 1 x 1 convolution, every set that this processor can run, against plain sums in double precision: one to three
// inputs in place of their concatenation, padded channels, pixel counts around the block, every finish; and that a
// pixel's value does not depend on which pixels run with it.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "cpu/pointwise.h"
#include "support/own_kernels.h"

using namespace wbsr;
using wbsr::test::check;
using wbsr::test::finished;
using wbsr::test::noise;

namespace {

using Kind = simd::Finish::Kind;

struct Case {
  std::vector<int> parts;  // blocks of each input
  int out, h, w;           // blocks
  Kind kind;
  int padding;  // channels at the end of the last input that are not read
};

void compare(const simd::Pointwise& kernel, const Case& c) {
  const int L = kernel.lanes, out = c.out * L, batch = 2;
  const int64_t pixels = int64_t{c.h} * c.w;
  int in = 0;
  for (const int part : c.parts) in += part * L;
  const std::string at = std::to_string(L) + " lanes, " + std::to_string(in) + " to " + std::to_string(out) +
                         " channels, " + std::to_string(c.w) + "x" + std::to_string(c.h);
  const cpu::Layout to{cpu::Layout::Blocked, L, c.out, c.out, c.h, c.w};
  std::vector<std::vector<float>> values;
  cpu::PointwiseImages images{{}, to, batch, nullptr, {}, nullptr, in - c.padding};
  for (const int part : c.parts) {
    values.push_back(noise(static_cast<size_t>(part * L * pixels * batch), values.size() + 1));
    images.in.push_back({values.back().data(), {cpu::Layout::Blocked, L, part, part, c.h, c.w}});
  }
  const auto dense = noise(static_cast<size_t>(out) * in, 12), bias = noise(static_cast<size_t>(out), 13),
             residual = noise(static_cast<size_t>(out * pixels * batch), 14), slopes = noise(bias.size(), 15);
  const std::vector<float> weights = cpu::packPointwise(dense, out, in, L);
  std::vector<float> y(residual.size(), NAN);
  images.weights = weights.data();
  images.finish = {c.kind, bias.data(), slopes.data(), c.kind == Kind::Silu ? nullptr : residual.data(), test::kGate};
  images.out = y.data();
  cpu::runPointwise(kernel, images);
  const auto value = [&](int n, int channel, int64_t pixel) {
    size_t part = 0;
    for (; channel >= c.parts[part] * L; ++part) channel -= c.parts[part] * L;
    return static_cast<double>(
        values[part][static_cast<size_t>(((n * c.parts[part] + channel / L) * pixels + pixel) * L + channel % L)]);
  };
  double worst = 0;
  for (int n = 0; n < batch; ++n)
    for (int o = 0; o < out; ++o)
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        double sum = static_cast<double>(bias[static_cast<size_t>(o)]);
        for (int i = 0; i < in - c.padding; ++i)
          sum += static_cast<double>(dense[static_cast<size_t>(o) * in + i]) * value(n, i, pixel);
        const size_t place = static_cast<size_t>(((n * c.out + o / L) * pixels + pixel) * L + o % L);
        const double added = images.finish.residual ? static_cast<double>(residual[place]) : 0;
        const double wanted = finished(c.kind, sum, static_cast<double>(slopes[static_cast<size_t>(o)]), added);
        worst = std::max(worst, std::fabs(wanted - static_cast<double>(y[place])));
      }
  check(worst < 2e-6 * std::sqrt(in), at + ": " + std::to_string(worst));

  // One pixel at a time.
  std::vector<const float*> blocks;
  for (const cpu::PointwiseInput& part : images.in)
    for (int b = 0; b < part.layout.planes; ++b) blocks.push_back(part.values + b * pixels * L);
  std::vector<float> single(static_cast<size_t>(to.image()), NAN);
  const simd::PointwiseConv conv{blocks.data(), weights.data(), images.finish, single.data(),
                                 pixels,        in / L,         c.out,         in - c.padding};
  for (int64_t pixel = pixels - 1; pixel >= 0; --pixel) kernel.run(conv, pixel, 1);
  check(std::memcmp(single.data(), y.data(), single.size() * sizeof(float)) == 0, at + ": pixels one by one");
}

const simd::Pointwise* kernelOf(int lanes) {
  try {
    return simd::pointwise(lanes);
  } catch (const Error&) {
    return nullptr;  // not on this processor
  }
}

}  // namespace

int main() {
  for (const int lanes : {16, 8}) {
    const simd::Pointwise* kernel = kernelOf(lanes);
    if (!kernel) continue;
    for (const auto& [h, w] : {std::pair{1, 1}, {5, 3}, {7, 7}, {23, 25}})
      for (const int out : {1, 2, 3, 5})
        for (const Kind kind : {Kind::Leaky, Kind::Silu, Kind::Gate}) {
          compare(*kernel, {{1}, out, h, w, kind, 0});
          compare(*kernel, {{2, 1, 3}, out, h, w, kind, 3});
        }
  }
  return test::finish();
}

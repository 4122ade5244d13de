// Convolutions between thin values and between pooled ones on the device against sums in double precision, with weight
// slices smaller than their parameter, and gradients added to what is there.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "cuda/program/layout.h"
#include "cuda/conv/kernels.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

std::string nameOf(const SmallConv& c) {
  return std::to_string(c.kernel) + "x" + std::to_string(c.kernel) + " " + std::to_string(c.inChannels) + "->" +
         std::to_string(c.outChannels) + " on " + std::to_string(c.batch) + "x" + std::to_string(c.height) + "x" +
         std::to_string(c.width) + " activation " + std::to_string(static_cast<int>(c.activation));
}

// fn(pixel of out, its o, pixel of in, its i, element of the weight) for every product of the convolution.
template <typename F>
void products(const SmallConv& c, F fn) {
  const int pad = c.kernel / 2;
  for (int n = 0; n < c.batch; ++n)
    for (int y = 0; y < c.height; ++y)
      for (int x = 0; x < c.width; ++x)
        for (int ky = 0; ky < c.kernel; ++ky)
          for (int kx = 0; kx < c.kernel; ++kx) {
            const int fromY = y + ky - pad, fromX = x + kx - pad;
            if (fromY < 0 || fromY >= c.height || fromX < 0 || fromX >= c.width) continue;
            for (int o = 0; o < c.outChannels; ++o)
              for (int i = 0; i < c.inChannels; ++i)
                fn((static_cast<size_t>(n) * c.height + y) * c.width + x, o,
                   (static_cast<size_t>(n) * c.height + fromY) * c.width + fromX, i,
                   ((static_cast<size_t>(o) * c.fullIn + i) * c.kernel + ky) * c.kernel + kx);
          }
}

double activated(const SmallConv& c, double x) {
  if (c.activation == ActivationKind::Sigmoid) return 1 / (1 + std::exp(-x));
  if (x > 0 || c.activation == ActivationKind::None) return x;
  return c.activation == ActivationKind::Relu ? 0 : x * static_cast<double>(c.slope);
}

// range: of the inputs; errors are measured in it.
void conv(const SmallConv& c, bool withBias, bool withResidual, double range) {
  const std::string name = nameOf(c);
  const size_t pixels = static_cast<size_t>(c.batch) * c.height * c.width;
  const size_t fullOut = static_cast<size_t>(c.outChannels) + 2, weights = fullOut * c.fullIn * c.kernel * c.kernel;
  const std::vector<float> in = randomVector(pixels * c.inStride, 1, -range, range);
  const std::vector<float> dOut = randomVector(pixels * c.outStride, 2),
                           residual = randomVector(pixels * c.outStride, 3), weight = randomVector(weights, 4),
                           bias = randomVector(fullOut, 5), before = randomVector(weights, 6),
                           beforeBias = randomVector(fullOut, 7);
  std::vector<double> out(pixels * c.outStride, 0.0), dIn(pixels * c.inStride, 0.0),
      dWeight(before.begin(), before.end()), dBias(beforeBias.begin(), beforeBias.end());
  products(c, [&](size_t outPixel, int o, size_t inPixel, int i, size_t w) {
    const size_t outAt = outPixel * c.outStride + o, inAt = inPixel * c.inStride + i;
    out[outAt] += static_cast<double>(weight[w]) * in[inAt];
    dIn[inAt] += static_cast<double>(weight[w]) * dOut[outAt];
    dWeight[w] += static_cast<double>(dOut[outAt]) * in[inAt];
  });
  for (size_t p = 0; p < pixels; ++p)
    for (int o = 0; o < c.outChannels; ++o) {
      double& value = out[p * c.outStride + o];
      value = activated(c, value + (withBias ? bias[o] : 0)) + (withResidual ? residual[p * c.outStride + o] : 0);
      if (withBias) dBias[o] += dOut[p * c.outStride + o];
    }

  const DeviceArray<float> deviceIn(in), deviceDOut(dOut), deviceResidual(residual), deviceWeight(weight),
      deviceBias(bias);
  DeviceArray<float> deviceOut(out.size()), deviceDIn(dIn.size());
  smallConv(c, deviceIn.data(), deviceWeight.data(), withBias ? deviceBias.data() : nullptr,
            withResidual ? deviceResidual.data() : nullptr, deviceOut.data(), nullptr);
  // Padding becomes 0. Errors are those of long sums in float: they grow with terms and partial sums.
  const double terms = static_cast<double>(c.kernel) * c.kernel;
  closeTo(deviceOut.download(), out, 4e-8 * range * terms * c.inChannels + 1e-6, 1e-6, "smallConv " + name);
  smallConvBackwardData(c, deviceDOut.data(), deviceWeight.data(), deviceDIn.data(), nullptr);
  closeTo(deviceDIn.download(), dIn, 4e-8 * terms * c.outChannels + 1e-6, 1e-6, "smallConvBackwardData " + name);

  const DeviceArray<char> scratch(smallConvScratch(c));
  std::vector<float> first, firstBias;
  for (const bool again : {false, true}) {
    DeviceArray<float> gradient(before), biasGradient(beforeBias);
    smallConvBackwardWeights(c, deviceIn.data(), deviceDOut.data(), gradient.data(),
                             withBias ? biasGradient.data() : nullptr, scratch.data(), nullptr);
    if (again) {
      sameBits(gradient.download(), first, "smallConvBackwardWeights again " + name);
      sameBits(biasGradient.download(), firstBias, "smallConvBackwardWeights again, bias, " + name);
      continue;
    }
    first = gradient.download();
    firstBias = biasGradient.download();
    closeTo(first, dWeight, 4e-7 * range * std::sqrt(static_cast<double>(pixels)) + 1e-6, 2e-6,
            "smallConvBackwardWeights " + name);
    closeTo(firstBias, dBias, 2e-7 * std::sqrt(static_cast<double>(pixels)) + 1e-6, 2e-6,
            "smallConvBackwardWeights, bias, " + name);
    bool kept = true;  // what is not of the slice
    for (size_t w = 0; w < weights; ++w) {
      const size_t row = w / (c.kernel * c.kernel);
      const bool slice =
          static_cast<int>(row / c.fullIn) < c.outChannels && static_cast<int>(row % c.fullIn) < c.inChannels;
      kept = kept && (slice || first[w] == before[w]);
    }
    check(kept, "only the slice is written, " + name);
  }
}

void thin(int batch, int height, int width, int in, int out, int kernel, int fullIn, ActivationKind activation,
          bool bias, bool residual, double range = 1) {
  conv({batch, height, width, in, out, kChannelAlign, kChannelAlign, kernel, fullIn, activation, 0.1f}, bias, residual,
       range);
}

void pooled(int batch, int in, int out, int kernel, int fullIn, ActivationKind activation, bool bias, bool residual) {
  conv({batch, 1, 1, in, out, padded(in), padded(out), kernel, fullIn, activation, 0.1f}, bias, residual, 1);
}

}  // namespace

int main() {
  using enum ActivationKind;
  thin(2, 5, 7, 3, 3, 1, 3, None, true, false, 255);  // RCAN's mean shift
  thin(1, 1, 1, 3, 3, 3, 3, Relu, true, true);
  thin(1, 1, 13, 3, 5, 3, 4, LeakyRelu, true, true);
  thin(3, 17, 19, 3, 3, 3, 3, None, true, true);
  thin(1, 37, 2, 1, 8, 5, 1, Sigmoid, false, true);
  thin(2, 16, 16, 8, 4, 3, 9, None, false, false);
  thin(1, 18, 23, 7, 6, 9, 7, Relu, true, false);  // more items than a block has threads, taps beyond the border
  thin(1, 3, 4, 2, 7, 9, 3, None, true, false);
  thin(0, 5, 7, 3, 3, 3, 3, None, true, true);
  thin(9, 64, 61, 1, 1, 1, 1, None, true, false, 255);  // more tiles than blocks
  pooled(1, 1, 1, 1, 1, None, true, false);
  pooled(3, 64, 4, 1, 64, Relu, true, false);
  pooled(5, 4, 64, 1, 4, Sigmoid, true, false);
  pooled(2, 300, 17, 3, 304, LeakyRelu, true, true);
  pooled(2, 37, 260, 1, 40, None, false, true);
  pooled(0, 16, 8, 1, 16, None, true, false);
  return finish();
}

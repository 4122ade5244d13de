#include "core/operators/layer_norm.h"

#include <cmath>
#include <vector>

#include "cpu/planes.h"
#include "cpu/registry.h"

namespace wbsr::cpu {
namespace {

using operators::LayerNorm;

// Means and 1 / deviations of the pixels of one row, over all channels.
struct Moments {
  std::vector<double> mean, scale;
};

Moments momentsOf(const Layout& l, int channels, const float* image, int y, double epsilon) {
  const size_t w = static_cast<size_t>(l.w);
  Moments m{std::vector<double>(w, 0.0), std::vector<double>(w, 0.0)};
  for (int c = 0; c < channels; ++c) {
    const float* row = image + placeOf(l, c, y, 0);
    for (size_t x = 0; x < w; ++x) m.mean[x] += row[x * l.lanes];
  }
  for (double& mean : m.mean) mean /= channels;
  for (int c = 0; c < channels; ++c) {
    const float* row = image + placeOf(l, c, y, 0);
    for (size_t x = 0; x < w; ++x) {
      const double d = row[x * l.lanes] - m.mean[x];
      m.scale[x] += d * d;
    }
  }
  for (double& scale : m.scale) scale = 1 / std::sqrt(scale / channels + epsilon);
  return m;
}

void forward(const StepView& s) {
  const Layout l = s.outLayout();
  const int channels = s.outValue().channels;
  const std::vector<float> weight = s.parameter(LayerNorm::kWeight, channels),
                           bias = s.parameter(LayerNorm::kBias, channels);
  const float* in = s.in(0);
  float* out = s.out();
  const double epsilon = static_cast<double>(s.op<LayerNorm>().epsilon());
  const int64_t rows = int64_t{s.batch()} * l.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t image = row / l.h * l.image();
    const int y = static_cast<int>(row % l.h);
    const Moments m = momentsOf(l, channels, in + image, y, epsilon);
    for (int c = 0; c < channels; ++c) {
      const int64_t at = image + placeOf(l, c, y, 0);
      for (int x = 0; x < l.w; ++x)
        out[at + int64_t{x} * l.lanes] =
            static_cast<float>((in[at + int64_t{x} * l.lanes] - m.mean[static_cast<size_t>(x)]) *
                               m.scale[static_cast<size_t>(x)]) *
                weight[static_cast<size_t>(c)] +
            bias[static_cast<size_t>(c)];
    }
  }
  clearPadding(l, s.outValue(), s.batch(), out);
}

// With n = (x - mean) * scale and g = dOut * weight: dIn = scale * (g - mean(g) - n * mean(g n)).
void backwardData(const StepView& s) {
  const Layout l = s.outLayout();
  const int channels = s.outValue().channels;
  const std::vector<float> weight = s.parameter(LayerNorm::kWeight, channels);
  const float *gradOut = s.in(0), *in = s.in(1);
  float* gradIn = s.out();
  const double epsilon = static_cast<double>(s.op<LayerNorm>().epsilon());
  const int64_t rows = int64_t{s.batch()} * l.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t image = row / l.h * l.image();
    const int y = static_cast<int>(row % l.h);
    const Moments m = momentsOf(l, channels, in + image, y, epsilon);
    std::vector<double> sum(static_cast<size_t>(l.w), 0.0), product(sum);
    const auto each = [&](auto&& work) {
      for (int c = 0; c < channels; ++c)
        for (int x = 0; x < l.w; ++x) {
          const int64_t at = image + placeOf(l, c, y, 0) + int64_t{x} * l.lanes;
          const size_t i = static_cast<size_t>(x);
          work(at, i, static_cast<double>(gradOut[at]) * weight[static_cast<size_t>(c)],
               (in[at] - m.mean[i]) * m.scale[i]);
        }
    };
    each([&](int64_t, size_t i, double g, double n) {
      sum[i] += g;
      product[i] += g * n;
    });
    each([&](int64_t at, size_t i, double g, double n) {
      gradIn[at] = static_cast<float>(m.scale[i] * (g - sum[i] / channels - n * product[i] / channels));
    });
  }
  clearPadding(l, s.outValue(), s.batch(), gradIn);
}

// One part per row of an image, then these in order: the same for any number of threads.
void backwardWeights(const StepView& s) {
  const Layout l = s.inLayout(0);
  const int channels = s.inValue(0).channels;
  const float *gradOut = s.in(0), *in = s.in(1);
  const double epsilon = static_cast<double>(s.op<LayerNorm>().epsilon());
  const int64_t rows = int64_t{s.batch()} * l.h;
  const size_t width = 2 * static_cast<size_t>(channels);
  std::vector<double> parts(static_cast<size_t>(rows) * width, 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t image = row / l.h * l.image();
    const int y = static_cast<int>(row % l.h);
    const Moments m = momentsOf(l, channels, in + image, y, epsilon);
    double* part = parts.data() + static_cast<size_t>(row) * width;
    for (int c = 0; c < channels; ++c)
      for (int x = 0; x < l.w; ++x) {
        const int64_t at = image + placeOf(l, c, y, 0) + int64_t{x} * l.lanes;
        const size_t i = static_cast<size_t>(x);
        part[2 * c] += gradOut[at] * (in[at] - m.mean[i]) * m.scale[i];
        part[2 * c + 1] += gradOut[at];
      }
  }
  std::vector<double> weight(static_cast<size_t>(channels), 0.0), bias(weight);
  for (int64_t row = 0; row < rows; ++row)
    for (size_t c = 0; c < weight.size(); ++c) {
      weight[c] += parts[static_cast<size_t>(row) * width + 2 * c];
      bias[c] += parts[static_cast<size_t>(row) * width + 2 * c + 1];
    }
  s.addGradient(LayerNorm::kWeight, weight);
  s.addGradient(LayerNorm::kBias, bias);
}

}  // namespace

void register_layer_norm(Registry& registry) {
  registry.add(LayerNorm::kKind, forward);
  registry.add(LayerNorm::kBackwardData, backwardData);
  registry.add(LayerNorm::kBackwardWeights, backwardWeights);
}

}  // namespace wbsr::cpu

// A plain interpreter of network graphs in double precision: what every device is compared with.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/graph.h"
#include "core/operators/activation.h"
#include "core/operators/conv.h"
#include "core/operators/global_pool.h"
#include "core/operators/pixel_shuffle.h"
#include "core/operators/upsample.h"

namespace wbsr::test {

struct Image {
  int c = 0, h = 0, w = 0;
  std::vector<double> v;
  double& at(int ch, int y, int x) { return v[(static_cast<size_t>(ch) * h + y) * w + x]; }
  double at(int ch, int y, int x) const { return v[(static_cast<size_t>(ch) * h + y) * w + x]; }
  static Image of(int c, int h, int w) { return {c, h, w, std::vector<double>(static_cast<size_t>(c) * h * w, 0.0)}; }
};

inline double cubic(double x, double a) {
  x = std::fabs(x);
  if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
  return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
}

// Plain loops for the operators: inputs -> output. `parameters`: what this node uses, in its order, each a dense array of
// its slice.
using Inputs = std::vector<const Image*>;
using Slices = std::vector<std::vector<double>>;
using Reference = std::function<Image(const Operator& op, const Inputs& in, const Slices& parameters, int channels)>;

inline Image conv(const Operator& op, const Inputs& in, const Slices& parameters, int channels) {
  const Image& x = *in[0];
  const auto& c = static_cast<const operators::Conv&>(op);
  const int k = c.kernel(), outPerGroup = c.depthwise() ? 1 : channels / c.groups();
  const int inPerGroup = c.depthwise() ? 1 : x.c / c.groups();
  const auto sizeOf = [&](int n) { return (n + 2 * c.padding() - k) / c.stride() + 1; };
  Image out = Image::of(channels, sizeOf(x.h), sizeOf(x.w));
  for (int o = 0; o < out.c; ++o)
    for (int y = 0; y < out.h; ++y)
      for (int xx = 0; xx < out.w; ++xx) {
        double sum = parameters.size() > 1 ? parameters[1][o] : 0;
        for (int i = 0; i < inPerGroup; ++i)
          for (int ky = 0; ky < k; ++ky)
            for (int kx = 0; kx < k; ++kx) {
              const int row = y * c.stride() + ky - c.padding(), column = xx * c.stride() + kx - c.padding();
              if (row >= 0 && row < x.h && column >= 0 && column < x.w)
                sum += parameters[0][((static_cast<size_t>(o) * inPerGroup + i) * k + ky) * k + kx] *
                       x.at(o / outPerGroup * inPerGroup + i, row, column);
            }
        out.at(o, y, xx) = sum;
      }
  return out;
}

inline Image activation(const Operator& op, const Inputs& in, const Slices&, int) {
  const auto& a = static_cast<const operators::Activation&>(op);
  Image out = *in[0];
  for (double& v : out.v) {
    switch (a.function()) {
      case ActivationKind::Sigmoid: v = 1 / (1 + std::exp(-v)); break;
      case ActivationKind::Silu: v /= 1 + std::exp(-v); break;
      case ActivationKind::Gelu: v *= 0.5 * (1 + std::erf(v / std::sqrt(2.0))); break;
      case ActivationKind::Tanh: v = std::tanh(v); break;
      case ActivationKind::Exp: v = std::exp(v); break;
      case ActivationKind::Reciprocal: v = 1 / v; break;
      default: v *= v < 0 ? static_cast<double>(a.slope()) : 1;
    }
  }
  return out;
}

inline Image add(const Operator&, const Inputs& in, const Slices&, int) {
  Image out = *in[0];
  for (size_t i = 0; i < out.v.size(); ++i) out.v[i] += in[1]->v[i];
  return out;
}

inline Image pixelShuffle(const Operator& op, const Inputs& in, const Slices&, int) {
  const int r = static_cast<const operators::PixelShuffle&>(op).factor();
  Image out = Image::of(in[0]->c / (r * r), in[0]->h * r, in[0]->w * r);
  for (int c = 0; c < out.c; ++c)
    for (int y = 0; y < out.h; ++y)
      for (int x = 0; x < out.w; ++x) out.at(c, y, x) = in[0]->at(c * r * r + (y % r) * r + x % r, y / r, x / r);
  return out;
}

// Output sample `o` of an axis enlarged by `scale`, as (input sample, weight). a: of the cubic kernel; 0: bilinear, NaN: nearest.
inline std::vector<std::pair<int, double>> samplesAt(int o, double scale, int in, double a) {
  if (std::isnan(a)) return {{std::min(in - 1, static_cast<int>(std::floor((o + 1e-9) / scale))), 1.0}};
  const double centre = (o + 0.5) / scale - 0.5;
  std::vector<std::pair<int, double>> samples;
  for (int t = -2; t <= 3; ++t) {
    const int i = static_cast<int>(std::floor(centre)) + t;
    const double weight = a != 0 ? cubic(centre - i, a) : std::max(0.0, 1 - std::fabs(centre - i));
    if (weight != 0) samples.push_back({std::clamp(i, 0, in - 1), weight});
  }
  return samples;
}

inline Image resized(const Image& x, int h, int w, double scaleY, double scaleX, double a) {
  Image out = Image::of(x.c, h, w);
  for (int y = 0; y < h; ++y)
    for (int column = 0; column < w; ++column)
      for (const auto& [yy, wy] : samplesAt(y, scaleY, x.h, a))
        for (const auto& [xx, wx] : samplesAt(column, scaleX, x.w, a))
          for (int c = 0; c < x.c; ++c) out.at(c, y, column) += wy * wx * x.at(c, yy, xx);
  return out;
}

inline Image upsample(const Operator& op, const Inputs& in, const Slices&, int) {
  const auto& u = static_cast<const operators::Upsample&>(op);
  const double scale = static_cast<double>(u.factor()) / u.divisor();
  const double a = u.mode() == operators::Upsample::Nearest ? NAN : u.cubic() ? static_cast<double>(u.a()) : 0;
  return resized(*in[0], in[0]->h * u.factor() / u.divisor(), in[0]->w * u.factor() / u.divisor(), scale, scale, a);
}

inline Image globalPool(const Operator& op, const Inputs& in, const Slices&, int) {
  Image out = Image::of(in[0]->c, 1, 1);
  const int pixels = in[0]->h * in[0]->w;
  for (int c = 0; c < out.c; ++c) {
    for (int p = 0; p < pixels; ++p) out.v[c] += in[0]->v[static_cast<size_t>(c) * pixels + p];
    out.v[c] /= pixels;
    if (!static_cast<const operators::GlobalPool&>(op).deviation()) continue;
    double square = 0;
    for (int p = 0; p < pixels; ++p) square += std::pow(in[0]->v[static_cast<size_t>(c) * pixels + p] - out.v[c], 2);
    out.v[c] = std::sqrt(square / pixels);
  }
  return out;
}

inline Image scaleChannels(const Operator&, const Inputs& in, const Slices&, int) {
  Image out = *in[0];
  const size_t plane = static_cast<size_t>(out.h) * out.w;
  for (size_t i = 0; i < out.v.size(); ++i) out.v[i] *= in[1]->v[i / plane];
  return out;
}

// By kind; checks of further operators add theirs.
inline std::map<std::string, Reference, std::less<>>& references() {
  static std::map<std::string, Reference, std::less<>> table{{"conv", conv},
                                                             {"activation", activation},
                                                             {"add", add},
                                                             {"pixelShuffle", pixelShuffle},
                                                             {"upsample", upsample},
                                                             {"globalPool", globalPool},
                                                             {"scaleChannels", scaleChannels}};
  return table;
}

// The values of a slice, dense: for every dimension the indices in its ranges, or all where it has none.
inline std::vector<double> sliceOf(const Parameter& parameter, const std::vector<Ranges>& ranges,
                                   const std::vector<double>& arena) {
  std::vector<int64_t> places{0};
  for (size_t d = 0; d < parameter.shape.size(); ++d) {
    std::vector<int64_t> next;
    for (const int64_t place : places)
      for (const Range& range : ranges[d])
        for (int i = 0; i < range.count; ++i) next.push_back(place * parameter.shape[d] + range.from + i);
    places = std::move(next);
  }
  std::vector<double> values;
  for (const int64_t place : places) values.push_back(arena[static_cast<size_t>(parameter.offset + place)]);
  return values;
}

// One image through one subnet. parameters: the flat arena.
inline Image interpret(const Graph& graph, int width, int depth, const std::vector<double>& parameters,
                       const Image& input) {
  std::vector<bool> alive;
  const std::vector<int> resolved = graph.resolve(depth, alive);
  const WidthInfo& info = graph.at(width);
  std::vector<Image> value(graph.nodes().size());
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (!alive[i] || node.op->selected(0) >= 0) continue;
    if (node.op->isInput()) {
      value[i] = input;
      continue;
    }
    Inputs in;
    for (const int k : node.inputs) in.push_back(&value[static_cast<size_t>(resolved[static_cast<size_t>(k)])]);
    Slices slices;
    for (size_t p = 0; p < info.parameters[i].size(); ++p)
      slices.push_back(sliceOf(graph.parameters()[static_cast<size_t>(graph.firstParameter(static_cast<int>(i))) + p],
                               info.parameters[i][p], parameters));
    auto op = node.op->atWidth({width, graph.widths().back()});
    if (!op) op = node.op;
    value[i] = references().find(op->kind())->second(*op, in, slices, info.channels[i].count);
  }
  return value[static_cast<size_t>(resolved[static_cast<size_t>(graph.output())])];
}

}  // namespace wbsr::test

// A plain interpreter of network graphs in double precision: what every device is compared with.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/graph.h"

namespace wbsr::test {

struct Image {
  int c = 0, h = 0, w = 0;
  std::vector<double> v;
  double& at(int ch, int y, int x) { return v[(static_cast<size_t>(ch) * h + y) * w + x]; }
  double at(int ch, int y, int x) const { return v[(static_cast<size_t>(ch) * h + y) * w + x]; }
  static Image of(int c, int h, int w) { return {c, h, w, std::vector<double>(static_cast<size_t>(c) * h * w, 0.0)}; }
};

inline double cubic(double x) {
  x = std::fabs(x);
  if (x <= 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
  return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

// One image through one subnet. parameters: the flat arena.
inline Image interpret(const Graph& graph, int width, int depth, const std::vector<double>& parameters,
                       const Image& input) {
  std::vector<bool> alive;
  const std::vector<int> resolved = graph.resolve(depth, alive);
  const std::vector<int> channels = graph.channels(width);
  std::vector<Image> value(graph.nodes().size());
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    if (!alive[i] || node.op == Op::Stack) continue;
    auto in = [&](int k) -> const Image& { return value[resolved[node.inputs[k]]]; };
    switch (node.op) {
      case Op::Input: value[i] = input; break;
      case Op::Conv: {
        const Parameter& weight = graph.parameters()[graph.weightOf(static_cast<int>(i))];
        const int full = weight.shape[1], k = node.kernel, pad = k / 2;
        Image out = Image::of(channels[i], in(0).h, in(0).w);
        for (int o = 0; o < out.c; ++o)
          for (int y = 0; y < out.h; ++y)
            for (int x = 0; x < out.w; ++x) {
              double sum = node.bias ? parameters[graph.parameters()[graph.biasOf(static_cast<int>(i))].offset + o] : 0;
              for (int c = 0; c < in(0).c; ++c)
                for (int ky = 0; ky < k; ++ky)
                  for (int kx = 0; kx < k; ++kx) {
                    const int yy = y + ky - pad, xx = x + kx - pad;
                    if (yy >= 0 && yy < out.h && xx >= 0 && xx < out.w)
                      sum +=
                          parameters[weight.offset + ((int64_t{o} * full + c) * k + ky) * k + kx] * in(0).at(c, yy, xx);
                  }
              out.at(o, y, x) = sum;
            }
        value[i] = out;
        break;
      }
      case Op::Activation: {
        value[i] = in(0);
        for (double& v : value[i].v) {
          if (node.activation == ActivationKind::Sigmoid)
            v = 1 / (1 + std::exp(-v));
          else if (v < 0)
            v *= node.activation == ActivationKind::LeakyRelu ? static_cast<double>(node.slope) : 0.0;
        }
        break;
      }
      case Op::Add: {
        value[i] = in(0);
        for (size_t j = 0; j < value[i].v.size(); ++j) value[i].v[j] += in(1).v[j];
        break;
      }
      case Op::PixelShuffle: {
        const int r = node.factor;
        Image out = Image::of(in(0).c / (r * r), in(0).h * r, in(0).w * r);
        for (int c = 0; c < out.c; ++c)
          for (int y = 0; y < out.h; ++y)
            for (int x = 0; x < out.w; ++x) out.at(c, y, x) = in(0).at(c * r * r + (y % r) * r + x % r, y / r, x / r);
        value[i] = out;
        break;
      }
      case Op::Upsample: {
        const int r = node.factor;
        Image out = Image::of(in(0).c, in(0).h * r, in(0).w * r);
        for (int c = 0; c < out.c; ++c)
          for (int y = 0; y < out.h; ++y)
            for (int x = 0; x < out.w; ++x) {
              const double cy = (y + 0.5) / r - 0.5, cx = (x + 0.5) / r - 0.5;
              double sum = 0;
              for (int ty = -2; ty <= 3; ++ty)
                for (int tx = -2; tx <= 3; ++tx) {
                  const int yy = static_cast<int>(std::floor(cy)) + ty, xx = static_cast<int>(std::floor(cx)) + tx;
                  const double wy = node.cubic ? cubic(cy - yy) : std::max(0.0, 1 - std::fabs(cy - yy));
                  const double wx = node.cubic ? cubic(cx - xx) : std::max(0.0, 1 - std::fabs(cx - xx));
                  sum += wy * wx * in(0).at(c, std::clamp(yy, 0, in(0).h - 1), std::clamp(xx, 0, in(0).w - 1));
                }
              out.at(c, y, x) = sum;
            }
        value[i] = out;
        break;
      }
      case Op::GlobalPool: {
        Image out = Image::of(in(0).c, 1, 1);
        for (int c = 0; c < out.c; ++c) {
          for (int p = 0; p < in(0).h * in(0).w; ++p)
            out.v[c] += in(0).v[static_cast<size_t>(c) * in(0).h * in(0).w + p];
          out.v[c] /= in(0).h * in(0).w;
        }
        value[i] = out;
        break;
      }
      case Op::ScaleChannels: {
        value[i] = in(0);
        const size_t plane = static_cast<size_t>(in(0).h) * in(0).w;
        for (size_t j = 0; j < value[i].v.size(); ++j) value[i].v[j] *= in(1).v[j / plane];
        break;
      }
      default: break;
    }
  }
  return value[resolved[graph.output()]];
}

}  // namespace wbsr::test

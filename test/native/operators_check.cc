// Every operator, one row each, on a device: forward against a plain loop in double precision, gradients of the
// parameters before, in and behind it against finite differences of that loop, at odd sizes, a single pixel, channels from
// 1 to 65, slices of every width, with one thread and two. The same rows run on the CUDA device (cuda/cuda_operators_check.cc).
#include <cstdio>

#include "core/operators/affine.h"
#include "core/operators/conv_transpose.h"
#include "core/operators/layer_norm.h"
#include "core/operators/pixel_unshuffle.h"
#include "core/operators/pool.h"
#include "core/operators/resize_like.h"
#include "core/operators/slice.h"
#include "cpu/device.h"
#include "support/agreement.h"

using namespace wbsr;
using namespace wbsr::test;
using graphs::Builder;
using graphs::fixed;
using graphs::width;

namespace {

std::unique_ptr<Device> makeDevice(const Graph& graph, int threads) { return cpu::makeDevice(graph, threads, nullptr); }

struct Row {
  std::string name;
  // Writes the operator behind x, a convolution with `width` channels, and returns a value of `scale` times the image's
  // size, which a convolution to RGB follows. image: the input.
  std::function<int(Builder& b, int x, int image)> build;
  std::map<std::string, Reference> references;  // of operators that reference.h does not have
  int scale = 1;
  int multiple = 1, smallest = 1;  // of the sides
};

int activation(Builder& b, int x, const char* kind) { return b.node("activation", {x}, {{"activation", kind}}); }

// Named by its place.
int convOf(Builder& b, int x, Attributes attributes) {
  attributes.set("name", "conv" + std::to_string(b.nodes.size()));
  return b.node("conv", {x}, attributes);
}

// --- The plain loops ---

Image prelu(const Operator&, const Inputs& in, const Slices& parameters, int) {
  Image out = *in[0];
  const size_t plane = static_cast<size_t>(out.h) * out.w;
  for (size_t i = 0; i < out.v.size(); ++i)
    if (out.v[i] < 0) out.v[i] *= parameters[0][i / plane];
  return out;
}

Image multiply(const Operator&, const Inputs& in, const Slices&, int) {
  Image out = *in[0];
  for (size_t i = 0; i < out.v.size(); ++i) out.v[i] *= in[1]->v[i % in[1]->v.size()];
  return out;
}

Image affine(const Operator& op, const Inputs& in, const Slices&, int) {
  const auto& a = static_cast<const operators::Affine&>(op);
  Image out = *in[0];
  const size_t plane = static_cast<size_t>(out.h) * out.w;
  for (size_t i = 0; i < out.v.size(); ++i) {
    const int c = static_cast<int>(i / plane);
    out.v[i] = out.v[i] * static_cast<double>(a.scale(c)) + static_cast<double>(a.offset(c));
  }
  return out;
}

Image slice(const Operator& op, const Inputs& in, const Slices&, int channels) {
  const int from = static_cast<const operators::Slice&>(op).from();
  Image out = Image::of(channels, in[0]->h, in[0]->w);
  for (size_t i = 0; i < out.v.size(); ++i) out.v[i] = in[0]->v[i + static_cast<size_t>(from) * out.h * out.w];
  return out;
}

Image concat(const Operator&, const Inputs& in, const Slices&, int channels) {
  Image out{channels, in[0]->h, in[0]->w, {}};
  for (const Image* part : in) out.v.insert(out.v.end(), part->v.begin(), part->v.end());
  return out;
}

Image resizeLike(const Operator& op, const Inputs& in, const Slices&, int) {
  const double a = static_cast<const operators::ResizeLike&>(op).nearest() ? NAN : 0;
  const int h = in[1]->h, w = in[1]->w;
  return resized(*in[0], h, w, static_cast<double>(h) / in[0]->h, static_cast<double>(w) / in[0]->w, a);
}

Image pool(const Operator& op, const Inputs& in, const Slices&, int) {
  const auto& p = static_cast<const operators::Pool&>(op);
  const Image& x = *in[0];
  const Size size = p.size({{x.h, x.w}});
  Image out = Image::of(x.c, size.height, size.width);
  for (int c = 0; c < x.c; ++c)
    for (int y = 0; y < out.h; ++y)
      for (int column = 0; column < out.w; ++column) {
        const auto rows = p.window(y, x.h, out.h), columns = p.window(column, x.w, out.w);
        double sum = 0, most = -HUGE_VAL;
        for (int yy = rows.first; yy < rows.last; ++yy)
          for (int xx = columns.first; xx < columns.last; ++xx) {
            sum += x.at(c, yy, xx);
            most = std::max(most, x.at(c, yy, xx));
          }
        out.at(c, y, column) = p.average() ? sum / (rows.count * columns.count) : most;
      }
  return out;
}

Image pixelUnshuffle(const Operator& op, const Inputs& in, const Slices&, int channels) {
  const int r = static_cast<const operators::PixelUnshuffle&>(op).factor();
  Image out = Image::of(channels, in[0]->h / r, in[0]->w / r);
  for (int c = 0; c < in[0]->c; ++c)
    for (int y = 0; y < in[0]->h; ++y)
      for (int x = 0; x < in[0]->w; ++x) out.at(c * r * r + (y % r) * r + x % r, y / r, x / r) = in[0]->at(c, y, x);
  return out;
}

Image convTranspose(const Operator& op, const Inputs& in, const Slices& parameters, int channels) {
  const auto& t = static_cast<const operators::ConvTranspose&>(op);
  const Image& x = *in[0];
  const int k = t.kernel();
  Image out = Image::of(channels, x.h * t.stride(), x.w * t.stride());
  for (int o = 0; o < channels; ++o)
    for (int y = 0; y < out.h; ++y)
      for (int column = 0; column < out.w; ++column)
        out.at(o, y, column) = parameters.size() > 1 ? parameters[1][static_cast<size_t>(o)] : 0;
  for (int i = 0; i < x.c; ++i)
    for (int y = 0; y < x.h; ++y)
      for (int column = 0; column < x.w; ++column)
        for (int ky = 0; ky < k; ++ky)
          for (int kx = 0; kx < k; ++kx) {
            const int yy = y * t.stride() + ky - t.padding(), xx = column * t.stride() + kx - t.padding();
            if (yy < 0 || yy >= out.h || xx < 0 || xx >= out.w) continue;
            for (int o = 0; o < channels; ++o)
              out.at(o, yy, xx) +=
                  x.at(i, y, column) * parameters[0][((static_cast<size_t>(i) * channels + o) * k + ky) * k + kx];
          }
  return out;
}

Image layerNorm(const Operator& op, const Inputs& in, const Slices& parameters, int) {
  const double epsilon = static_cast<double>(static_cast<const operators::LayerNorm&>(op).epsilon());
  Image out = *in[0];
  for (int y = 0; y < out.h; ++y)
    for (int x = 0; x < out.w; ++x) {
      double mean = 0, variance = 0;
      for (int c = 0; c < out.c; ++c) mean += out.at(c, y, x) / out.c;
      for (int c = 0; c < out.c; ++c) variance += std::pow(out.at(c, y, x) - mean, 2) / out.c;
      for (int c = 0; c < out.c; ++c)
        out.at(c, y, x) =
            (out.at(c, y, x) - mean) / std::sqrt(variance + epsilon) * parameters[0][static_cast<size_t>(c)] +
            parameters[1][static_cast<size_t>(c)];
    }
  return out;
}

const std::vector<Row>& rows() {
  static const std::vector<Row> table{
      {"conv 3x3", [](Builder& b, int x, int) { return b.conv(x, width()); }, {}},
      {"conv 1x1 without bias", [](Builder& b, int x, int) { return b.conv(x, width(2), 1, false); }, {}},
      {"conv, even kernel and padding 0, with stride",
       [](Builder& b, int x, int) {
         const int half = convOf(b, x, {{"channels", width(2)}, {"kernel", 2.0}, {"stride", 2.0}, {"padding", 0.0}});
         return b.upsample(half, 2);
       },
       {},
       1,
       2,
       2},
      {"conv with stride 3 and padding",
       [](Builder& b, int x, int image) {
         const int third = convOf(b, x, {{"channels", width()}, {"kernel", 5.0}, {"stride", 3.0}, {"padding", 1.0}});
         const int rgb = convOf(b, image, {{"channels", width()}, {"kernel", 3.0}, {"stride", 3.0}, {"padding", 0.0}});
         const int thin = convOf(b, x, {{"channels", fixed(2)}, {"kernel", 3.0}, {"stride", 3.0}, {"padding", 1.0}});
         return b.upsample(b.node("concat", {third, rgb, thin}), 3);
       },
       {},
       1,
       3,
       3},
      {"conv in groups",
       [](Builder& b, int x, int) {
         const int first = convOf(b, b.conv(x, width(4)), {{"channels", width(2)}, {"kernel", 3.0}, {"groups", 2.0}});
         return b.conv(convOf(b, b.leaky(first), {{"channels", width(4)}, {"kernel", 1.0}, {"groups", 2.0}}), width());
       },
       {}},
      {"conv, depthwise",
       [](Builder& b, int x, int image) {
         const int first = b.relu(convOf(b, x, {{"kernel", 5.0}, {"depthwise", true}}));
         const int joined = b.node("concat", {first, convOf(b, image, {{"kernel", 3.0}, {"depthwise", true}})});
         return convOf(b, joined, {{"kernel", 3.0}, {"depthwise", true}, {"bias", false}});
       },
       {}},
      {"conv, depthwise with stride",
       [](Builder& b, int x, int) {
         return b.upsample(convOf(b, x, {{"kernel", 3.0}, {"depthwise", true}, {"stride", 2.0}}), 2);
       },
       {},
       1,
       2,
       2},
      {"relu", [](Builder& b, int x, int) { return b.relu(x); }, {}},
      {"leakyRelu", [](Builder& b, int x, int) { return b.leaky(x, 0.2); }, {}},
      {"sigmoid", [](Builder& b, int x, int) { return b.sigmoid(x); }, {}},
      {"silu", [](Builder& b, int x, int) { return activation(b, b.conv(x, width()), "silu"); }, {}},
      {"gelu", [](Builder& b, int x, int) { return b.add(x, activation(b, x, "gelu")); }, {}},
      {"tanh", [](Builder& b, int x, int) { return activation(b, x, "tanh"); }, {}},
      {"exp and reciprocal",
       [](Builder& b, int x, int) { return activation(b, activation(b, x, "exp"), "reciprocal"); },
       {}},
      {"add", [](Builder& b, int x, int image) { return b.add(b.conv(image, width()), b.relu(x)); }, {}},
      {"pixelShuffle", [](Builder& b, int x, int) { return b.relu(b.shuffle(b.conv(x, width(4)), 2)); }, {}, 2},
      {"upsample, bilinear", [](Builder& b, int x, int) { return b.upsample(x, 3); }, {}, 3},
      {"upsample, bicubic", [](Builder& b, int x, int) { return b.upsample(x, 2, true); }, {}, 2},
      {"upsample, nearest by 3 / 2",
       [](Builder& b, int x, int) {
         const int larger = b.node("upsample", {x}, {{"factor", 3.0}, {"divisor", 2.0}, {"mode", "nearest"}});
         return b.node("upsample", {b.sigmoid(larger)}, {{"factor", 4.0}, {"divisor", 3.0}, {"mode", "nearest"}});
       },
       {},
       2,
       2,
       2},
      {"upsample, bicubic with a = -0.75, and bilinear by 1 / 2",
       [](Builder& b, int x, int) {
         const int large = b.node("upsample", {x}, {{"factor", 4.0}, {"mode", "bicubic"}, {"a", -0.75}});
         return b.node("upsample", {b.relu(large)}, {{"factor", 1.0}, {"divisor", 2.0}, {"mode", "bilinear"}});
       },
       {},
       2},
      {"globalPool and scaleChannels",
       [](Builder& b, int x, int) { return b.scaleChannels(x, b.sigmoid(b.conv(b.globalPool(x), width(), 1))); },
       {}},
      {"prelu",
       [](Builder& b, int x, int) {
         return b.node("prelu", {x}, {{"name", "slopes"}});
       },
       {{"prelu", prelu}}},
      {"multiply",
       [](Builder& b, int x, int image) {
         return b.node("multiply", {b.node("multiply", {x, b.conv(image, width())}), x});
       },
       {{"multiply", multiply}}},
      {"multiply by one channel",
       [](Builder& b, int x, int) {
         return b.node("multiply", {x, b.sigmoid(b.conv(x, fixed(1)))});
       },
       {}},
      {"multiply pooled values",
       [](Builder& b, int x, int) {
         const int pooled = b.globalPool(x);
         return b.scaleChannels(x, b.node("multiply", {pooled, b.conv(pooled, fixed(1), 1)}));
       },
       {}},
      {"affine",
       [](Builder& b, int x, int) {
         return b.node("affine", {x}, {{"scale", std::vector<double>{-1.5}}, {"offset", std::vector<double>{0.25}}});
       },
       {{"affine", affine}}},
      {"affine per channel",
       [](Builder& b, int x, int) {
         const int shifted = b.node("affine", {b.conv(x, fixed(3))}, {{"offset", std::vector<double>{0.1, 0.2, -0.3}}});
         std::vector<double> scales;
         for (int c = 0; c < 11; ++c) scales.push_back(0.1 * c - 0.4);
         return b.node("affine", {b.conv(shifted, fixed(11))}, {{"scale", scales}});
       },
       {}},
      {"slice",
       [](Builder& b, int x, int) {
         const int wide = b.conv(x, width(3));
         return b.add(b.node("slice", {wide}, {{"from", width(2)}, {"channels", width()}}),
                      b.node("slice", {wide}, {{"from", fixed(0)}, {"channels", width()}}));
       },
       {{"slice", slice}}},
      {"concat, and convolutions, prelu and slices behind it",
       [](Builder& b, int x, int image) {
         const int joined = b.node("concat", {x, b.relu(b.conv(x, width(2), 1)), b.conv(image, fixed(5)), image});
         const int active = b.node("prelu", {joined}, {{"name", "behind"}});
         const int again = b.node("concat", {b.conv(b.sigmoid(joined), fixed(3)), active});
         return b.add(b.conv(active, width(), 1), b.conv(again, width()));
       },
       {{"concat", concat}}},
      {"resizeLike",
       [](Builder& b, int x, int image) {
         const int smaller = convOf(b, x, {{"channels", width()}, {"kernel", 3.0}, {"stride", 3.0}, {"padding", 0.0}});
         const int pooled = b.node("resizeLike", {b.globalPool(x), x}, {{"mode", "nearest"}});
         return b.node("concat", {b.node("resizeLike", {b.relu(smaller), image}), pooled,
                                  b.node("resizeLike", {smaller, x}, {{"mode", "nearest"}})});
       },
       {{"resizeLike", resizeLike}},
       1,
       1,
       3},
      {"pool: maximum, and average with padding",
       [](Builder& b, int x, int image) {
         const int most = b.node("pool", {x}, {{"kind", "max"}, {"kernel", 3.0}, {"stride", 2.0}});
         const int mean = b.node("pool", {b.conv(image, width())},
                                 {{"kind", "average"}, {"kernel", 3.0}, {"stride", 2.0}, {"padding", 1.0}});
         return b.node("concat", {b.node("resizeLike", {b.conv(most, width()), x}), b.node("resizeLike", {mean, x})});
       },
       {{"pool", pool}},
       1,
       1,
       3},
      {"pool, adaptive",
       [](Builder& b, int x, int image) {
         const int most = b.node("pool", {x}, {{"kind", "max"}, {"adaptive", true}, {"factor", 4.0}});
         const int mean =
             b.node("pool", {b.conv(image, width())}, {{"kind", "average"}, {"adaptive", true}, {"factor", 3.0}});
         return b.node("concat", {b.node("resizeLike", {most, x}), b.node("resizeLike", {mean, x})});
       },
       {}},
      {"pixelUnshuffle",
       [](Builder& b, int x, int image) {
         const int joined = b.node("concat", {x, image});
         const int small = b.node("pixelUnshuffle", {joined}, {{"factor", 2.0}});
         return b.shuffle(b.conv(small, width(4)), 2);
       },
       {{"pixelUnshuffle", pixelUnshuffle}},
       1,
       2,
       2},
      {"globalPool, standard deviation",
       [](Builder& b, int x, int) {
         const int contrast = b.add(b.node("globalPool", {x}, {{"kind", "std"}}), b.globalPool(x));
         return b.scaleChannels(x, b.sigmoid(b.conv(contrast, width(), 1)));
       },
       {},
       1,
       1,
       2},
      {"convTranspose",
       [](Builder& b, int x, int image) {
         const int joined = b.node("concat", {x, image});
         const int large =
             b.node("convTranspose", {joined},
                    {{"name", "large"}, {"channels", width()}, {"kernel", 4.0}, {"stride", 2.0}, {"padding", 1.0}});
         const int nine = b.node("convTranspose", {x},
                                 {{"name", "nine"},
                                  {"channels", fixed(3)},
                                  {"kernel", 9.0},
                                  {"stride", 2.0},
                                  {"padding", 4.0},
                                  {"outputPadding", 1.0}});
         const int rgb = b.node("convTranspose", {image},
                                {{"name", "rgb"},
                                 {"channels", width()},
                                 {"kernel", 2.0},
                                 {"stride", 2.0},
                                 {"padding", 0.0},
                                 {"bias", false}});
         return b.node("concat", {large, nine, rgb});
       },
       {{"convTranspose", convTranspose}},
       2},
      {"layerNorm",
       [](Builder& b, int x, int image) {
         const int norm = b.node("layerNorm", {b.node("concat", {x, image})}, {{"name", "norm"}, {"epsilon", 1e-2}});
         return b.conv(norm, width(), 1);
       },
       {{"layerNorm", layerNorm}}},
  };
  return table;
}

void run(const Row& row) {
  // Few channels at every width are kept in another layout than many.
  for (const std::vector<int>& widths : {std::vector<int>{1, 7}, std::vector<int>{5, 19, 65}}) {
    Builder b;
    const int image = b.input();
    const int x = row.build(b, b.conv("head", image, width()), image);
    const int out = b.conv("tail", x, fixed(3));
    const Graph graph(row.scale, widths, {1}, b.nodes, out);
    const std::string name = row.name + ", widths up to " + std::to_string(widths.back());
    const auto side = [&row](int n) {
      return std::max(row.smallest, (n + row.multiple - 1) / row.multiple * row.multiple);
    };
    forwardAgrees(makeDevice, graph, name, 1, side(1), side(1));
    forwardAgrees(makeDevice, graph, name, 2, side(9), side(14));
    forwardAgrees(makeDevice, graph, name, 1, side(33), side(5));
    gradientsAgree(makeDevice, graph, name, 2, side(5), side(4), {0, static_cast<int>(graph.subnets().size()) - 1});
  }
}

}  // namespace

int main() {
  try {
    for (const Row& row : rows())
      for (const auto& [kind, reference] : row.references) references()[kind] = reference;
    for (const Row& row : rows()) run(row);
    forwardAgrees(makeDevice, graphs::ordered(), "channels in an order", 2, 9, 14);
    gradientsAgree(makeDevice, graphs::ordered(), "channels in an order", 1, 5, 4, {0, 1});
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

// Networks for the native checks: a small one of the real family and some that use every operator in odd ways.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "support/check.h"
#include "support/graph_builder.h"

namespace wbsr::test::graphs {

inline Graph srresnet(int scale, std::vector<int> widths, std::vector<int> depths) {
  Builder b;
  const int image = b.input();
  int x = b.leaky(b.conv(image, width()));
  std::vector<int> outputs{x};
  for (int i = 0; i < depths.back(); ++i) {
    const int y = b.conv(b.relu(b.conv(x, width())), width());
    outputs.push_back(x = b.add(y, x));
  }
  x = b.stack(outputs);
  std::vector<int> factors(scale == 4 ? 2 : 1, scale == 4 ? 2 : scale);
  for (int r : factors) x = b.leaky(b.shuffle(b.conv(x, width(r * r)), r));
  x = b.leaky(b.conv(x, width()));
  x = b.conv(x, fixed(3));
  const int out = b.add(x, b.upsample(image, scale));
  return Graph(scale, widths, depths, b.nodes, out);
}

// Mean shift, wide kernels, channel attention, sigmoid, features upsampled, shared values, a shuffle that ends in RGB.
inline Graph everything() {
  Builder b;
  const int image = b.input();
  const int shifted = b.conv(image, fixed(3), 1);
  const int head = b.conv(shifted, width(), 5, false);
  int x = head;
  std::vector<int> outputs{x};
  for (int i = 0; i < 2; ++i) {
    const int y = b.conv(b.relu(b.conv(x, width())), width(), i == 0 ? 3 : 1);
    const int mid = b.relu(b.conv(b.globalPool(y), width(1, 4), 1));
    const int factors = b.sigmoid(b.conv(mid, width(), 1));
    outputs.push_back(x = b.add(b.scaleChannels(y, factors), x));
  }
  x = b.add(b.conv(b.stack(outputs), width()), head);
  const int gate = b.sigmoid(b.conv(x, width()));
  const int up = b.upsample(b.add(gate, x), 2, true);
  const int smooth = b.conv(up, fixed(3), 9);
  const int direct = b.shuffle(b.conv(x, fixed(12)), 2);
  const int shuffled = b.conv(b.relu(b.shuffle(b.conv(shifted, width(4)), 2)), fixed(3));
  const int sum = b.add(b.add(smooth, direct), shuffled);
  const int out = b.add(b.conv(sum, fixed(3), 1), b.upsample(image, 2));
  return Graph(2, {8, 20}, {1, 2}, b.nodes, out);
}

// RGB straight from the shuffle of channels that follow the width, which at this only width are as few as a fixed count.
inline Graph narrow() {
  Builder b;
  const int image = b.input();
  const int x = b.relu(b.conv(image, width(1, 3)));
  const int sum = b.add(b.conv(x, fixed(4)), b.conv(image, width(1, 3)));
  return Graph(2, {12}, {1}, b.nodes, b.shuffle(b.conv(sum, width()), 2));
}

// The same size out as in: no tail that could be cropped.
inline Graph sameSize() {
  Builder b;
  const int image = b.input();
  const int x = b.leaky(b.conv(image, width()));
  return Graph(1, {8, 16}, {1}, b.nodes, b.add(b.conv(x, fixed(3)), image));
}

// A convolution that at depth 1 only the shuffle reads, and at depth 2 another one as well.
inline Graph readTwice() {
  Builder b;
  const int image = b.input();
  const int shared = b.conv(b.conv(image, width()), width(4));
  const int first = b.conv(b.shuffle(shared, 2), width());
  const int second = b.add(b.conv(first, width()), b.upsample(b.conv(shared, width()), 2));
  return Graph(2, {16}, {1, 2}, b.nodes, b.conv(b.stack({first, first, second}), fixed(3)));
}

// A product of what a convolution makes, as in SPAN, a PReLU, and an addition behind an activation.
inline Graph gated() {
  Builder b;
  const int image = b.input();
  const int x = b.leaky(b.conv(image, width()));
  const int t = b.conv(b.add(b.relu(b.conv(x, width())), x), width());
  const int shifted = b.node("affine", {b.sigmoid(t)}, {{"offset", std::vector<double>{-0.5}}});
  const int product = b.node("multiply", {b.add(t, x), shifted});
  const int sloped = b.node("prelu", {b.conv(product, width())}, {{"name", std::string("slopes")}});
  return Graph(1, {12, 20}, {1}, b.nodes, b.add(b.conv(b.add(sloped, product), fixed(3)), image));
}

// Channels in an order: of what is added, sliced in halves, concatenated and shuffled, and of a transposed convolution.
inline Graph ordered() {
  Builder b;
  const auto conv = [&b](int in, ChannelRule channels, std::vector<double> order) {
    const Attributes attributes{{"name", "conv" + std::to_string(b.nodes.size())},
                                {"channels", channels},
                                {"kernel", 3.0},
                                {"order", std::move(order)}};
    return b.node("conv", {in}, attributes);
  };
  const auto named = [&b](const std::string& op, int in, Attributes attributes) {
    attributes.set("name", op + std::to_string(b.nodes.size()));
    return b.node(op, {in}, attributes);
  };
  // Each half of the first four is two of one half of all.
  const std::vector<double> order{1, 3, 6, 4, 0, 2, 5, 7};
  const int image = b.input();
  const int head = conv(image, width(), order);
  const int body = b.add(named("prelu", conv(b.relu(head), width(), order), {}), head);
  const int deep = named("conv", body, {{"kernel", 3.0}, {"depthwise", true}});
  const int near = b.node("slice", {deep}, {{"from", fixed(0)}, {"channels", width(1, 2)}});
  const int far = b.node("slice", {deep}, {{"from", width(1, 2)}, {"channels", width(1, 2)}});
  const int joined = b.node("concat", {far, conv(near, width(1, 2), {2, 1, 3, 0})});
  std::vector<double> subPixels;
  for (const double channel : order)
    for (int i = 0; i < 4; ++i) subPixels.push_back(4 * channel + i);
  const int shuffled = b.relu(b.shuffle(conv(joined, width(4), subPixels), 2));
  const int large =
      named("convTranspose", body,
            {{"channels", width()}, {"kernel", 4.0}, {"stride", 2.0}, {"padding", 1.0}, {"order", order}});
  return Graph(2, {4, 8}, {1}, b.nodes, b.conv(b.add(shuffled, large), fixed(3)));
}

inline std::vector<double> randomParameters(const Graph& graph, uint64_t seed) {
  Random random{seed};
  std::vector<double> p(static_cast<size_t>(graph.parameterCount()));
  for (const Parameter& parameter : graph.parameters()) {
    const double scale =
        parameter.shape.size() == 1 ? 0.1 : 1.2 / std::sqrt(static_cast<double>(parameter.count / parameter.shape[0]));
    for (int64_t i = 0; i < parameter.count; ++i) p[parameter.offset + i] = static_cast<float>(random.next() * scale);
  }
  return p;
}

inline std::vector<float> toFloat(const std::vector<double>& v) { return {v.begin(), v.end()}; }

}  // namespace wbsr::test::graphs

// Networks for the native checks: a small one of the real family and some that use every operator in odd ways.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "support/check.h"
#include "core/graph.h"

namespace wbsr::test::graphs {

// Writes graphs as lib/networks does.
struct Builder {
  std::vector<Node> nodes;
  int push(Node n) {
    nodes.push_back(n);
    return static_cast<int>(nodes.size()) - 1;
  }
  int input() {
    Node n;
    n.op = Op::Input;
    n.channels.fixed = 3;
    return push(n);
  }
  int conv(int in, ChannelRule rule, int kernel = 3, bool bias = true) {
    Node n;
    n.op = Op::Conv;
    n.name = "conv" + std::to_string(nodes.size());
    n.inputs = {in};
    n.channels = rule;
    n.kernel = kernel;
    n.bias = bias;
    return push(n);
  }
  int act(int in, ActivationKind kind, float slope = 0.f) {
    Node n;
    n.op = Op::Activation;
    n.inputs = {in};
    n.activation = kind;
    n.slope = slope;
    return push(n);
  }
  int binary(Op op, int a, int b) {
    Node n;
    n.op = op;
    n.inputs = {a, b};
    return push(n);
  }
  int unary(Op op, int a, int factor = 1, bool cubic = false) {
    Node n;
    n.op = op;
    n.inputs = {a};
    n.factor = factor;
    n.cubic = cubic;
    return push(n);
  }
  int stack(std::vector<int> outputs) {
    Node n;
    n.op = Op::Stack;
    n.inputs = outputs;
    return push(n);
  }
};
inline ChannelRule width(int num = 1, int den = 1) { return {true, 0, num, den}; }
inline ChannelRule fixed(int n) { return {false, n, 1, 1}; }

inline Graph srresnet(int scale, std::vector<int> widths, std::vector<int> depths) {
  Builder b;
  const int image = b.input();
  int x = b.act(b.conv(image, width()), ActivationKind::LeakyRelu, 0.1f);
  std::vector<int> outputs{x};
  for (int i = 0; i < depths.back(); ++i) {
    const int y = b.conv(b.act(b.conv(x, width()), ActivationKind::Relu), width());
    outputs.push_back(x = b.binary(Op::Add, y, x));
  }
  x = b.stack(outputs);
  std::vector<int> factors(scale == 4 ? 2 : 1, scale == 4 ? 2 : scale);
  for (int r : factors)
    x = b.act(b.unary(Op::PixelShuffle, b.conv(x, width(r * r)), r), ActivationKind::LeakyRelu, 0.1f);
  x = b.act(b.conv(x, width()), ActivationKind::LeakyRelu, 0.1f);
  x = b.conv(x, fixed(3));
  const int out = b.binary(Op::Add, x, b.unary(Op::Upsample, image, scale));
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
    const int y = b.conv(b.act(b.conv(x, width()), ActivationKind::Relu), width(), i == 0 ? 3 : 1);
    const int mid = b.act(b.conv(b.unary(Op::GlobalPool, y), width(1, 4), 1), ActivationKind::Relu);
    const int factors = b.act(b.conv(mid, width(), 1), ActivationKind::Sigmoid);
    outputs.push_back(x = b.binary(Op::Add, b.binary(Op::ScaleChannels, y, factors), x));
  }
  x = b.binary(Op::Add, b.conv(b.stack(outputs), width()), head);
  const int gate = b.act(b.conv(x, width()), ActivationKind::Sigmoid);
  const int up = b.unary(Op::Upsample, b.binary(Op::Add, gate, x), 2, true);
  const int smooth = b.conv(up, fixed(3), 9);
  const int direct = b.unary(Op::PixelShuffle, b.conv(x, fixed(12)), 2);
  const int shuffled =
      b.conv(b.act(b.unary(Op::PixelShuffle, b.conv(shifted, width(4)), 2), ActivationKind::Relu), fixed(3));
  const int sum = b.binary(Op::Add, b.binary(Op::Add, smooth, direct), shuffled);
  const int out = b.binary(Op::Add, b.conv(sum, fixed(3), 1), b.unary(Op::Upsample, image, 2));
  return Graph(2, {8, 20}, {1, 2}, b.nodes, out);
}

// RGB straight from the shuffle of channels that follow the width, which at this only width are as few as a fixed count.
inline Graph narrow() {
  Builder b;
  const int image = b.input();
  const int x = b.act(b.conv(image, width(1, 3)), ActivationKind::Relu);
  const int sum = b.binary(Op::Add, b.conv(x, fixed(4)), b.conv(image, width(1, 3)));
  return Graph(2, {12}, {1}, b.nodes, b.unary(Op::PixelShuffle, b.conv(sum, width()), 2));
}

// The same size out as in: no tail that could be cropped.
inline Graph sameSize() {
  Builder b;
  const int image = b.input();
  const int x = b.act(b.conv(image, width()), ActivationKind::LeakyRelu, 0.1f);
  return Graph(1, {8, 16}, {1}, b.nodes, b.binary(Op::Add, b.conv(x, fixed(3)), image));
}

// A convolution that at depth 1 only the shuffle reads, and at depth 2 another one as well.
inline Graph readTwice() {
  Builder b;
  const int image = b.input();
  const int shared = b.conv(b.conv(image, width()), width(4));
  const int first = b.conv(b.unary(Op::PixelShuffle, shared, 2), width());
  const int second = b.binary(Op::Add, b.conv(first, width()), b.unary(Op::Upsample, b.conv(shared, width()), 2));
  return Graph(2, {16}, {1, 2}, b.nodes, b.conv(b.stack({first, first, second}), fixed(3)));
}

inline std::vector<double> randomParameters(const Graph& graph, uint64_t seed) {
  Random random{seed};
  std::vector<double> p(static_cast<size_t>(graph.parameterCount()));
  for (const Parameter& parameter : graph.parameters()) {
    const double scale =
        parameter.isBias ? 0.1 : 1.2 / std::sqrt(static_cast<double>(parameter.count / parameter.shape[0]));
    for (int64_t i = 0; i < parameter.count; ++i) p[parameter.offset + i] = static_cast<float>(random.next() * scale);
  }
  return p;
}

inline std::vector<float> toFloat(const std::vector<double>& v) { return {v.begin(), v.end()}; }

}  // namespace wbsr::test::graphs

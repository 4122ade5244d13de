// SRResNet and RCAN of method.md section 1 as lib/networks writes them, with their published parameter names, and weights
// with which every layer matters for the output. For the native checks and for bench/gpu.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "core/graph.h"

namespace wbsr::networks {

class GraphWriter {
 public:
  int input() {
    Node n;
    n.op = Op::Input;
    n.channels.fixed = 3;
    return push(n);
  }
  int conv(const std::string& name, int in, ChannelRule channels, int kernel = 3, float initGain = 1.f) {
    Node n;
    n.op = Op::Conv;
    n.name = name;
    n.inputs = {in};
    n.channels = channels;
    n.kernel = kernel;
    n.initGain = initGain;
    return push(n);
  }
  int activation(int in, ActivationKind kind, float slope = 0.f) {
    Node n;
    n.op = Op::Activation;
    n.inputs = {in};
    n.activation = kind;
    n.slope = slope;
    return push(n);
  }
  int leaky(int in) { return activation(in, ActivationKind::LeakyRelu, 0.1f); }
  int relu(int in) { return activation(in, ActivationKind::Relu); }
  int binary(Op op, int a, int b) {
    Node n;
    n.op = op;
    n.inputs = {a, b};
    return push(n);
  }
  int unary(Op op, int in, int factor = 1) {
    Node n;
    n.op = op;
    n.inputs = {in};
    n.factor = factor;
    return push(n);
  }
  int stack(const std::vector<int>& outputs) {
    Node n;
    n.op = Op::Stack;
    n.inputs = outputs;
    return push(n);
  }
  std::vector<Node> nodes;

 private:
  int push(const Node& n) {
    nodes.push_back(n);
    return static_cast<int>(nodes.size()) - 1;
  }
};

inline ChannelRule byWidth(int num = 1, int den = 1) { return {true, 0, num, den}; }
inline ChannelRule always(int channels) { return {false, channels, 1, 1}; }
inline std::vector<int> shuffleFactors(int scale) {
  return scale == 4 ? std::vector<int>{2, 2} : std::vector<int>{scale};
}

inline Graph srresnet(int scale, const std::vector<int>& widths, const std::vector<int>& depths) {
  constexpr float gain = 0.1f;
  GraphWriter g;
  const int image = g.input();
  int x = g.leaky(g.conv("conv_first", image, byWidth(), 3, gain));
  std::vector<int> outputs{x};
  for (int i = 0; i < depths.back(); ++i) {
    const std::string name = "recon_trunk." + std::to_string(i);
    const int y = g.relu(g.conv(name + ".conv1", x, byWidth(), 3, gain));
    outputs.push_back(x = g.binary(Op::Add, g.conv(name + ".conv2", y, byWidth(), 3, gain), x));
  }
  x = g.stack(outputs);
  int step = 0;
  for (int r : shuffleFactors(scale))
    x = g.leaky(g.unary(Op::PixelShuffle, g.conv("upconv" + std::to_string(++step), x, byWidth(r * r), 3, gain), r));
  x = g.leaky(g.conv("HRconv", x, byWidth(), 3, gain));
  const int out = g.binary(Op::Add, g.conv("conv_last", x, always(3), 3, gain), g.unary(Op::Upsample, image, scale));
  return Graph(scale, widths, depths, g.nodes, out);
}

inline Graph rcan(int scale, const std::vector<int>& widths, const std::vector<int>& depths, int groups = 10) {
  GraphWriter g;
  const int blocks = depths.back();
  const auto attention = [&](const std::string& name, int x) {
    const int squeezed = g.relu(g.conv(name + ".conv_du.0", g.unary(Op::GlobalPool, x), byWidth(1, 16), 1));
    return g.binary(Op::ScaleChannels, x,
                    g.activation(g.conv(name + ".conv_du.2", squeezed, byWidth(), 1), ActivationKind::Sigmoid));
  };
  const int image = g.input();
  const int head = g.conv("head.0", g.conv("sub_mean", image, always(3), 1), byWidth());
  int x = head;
  for (int i = 0; i < groups; ++i) {
    const std::string group = "body." + std::to_string(i) + ".body.";
    int block = x;
    std::vector<int> outputs{block};
    for (int b = 0; b < blocks; ++b) {
      const std::string name = group + std::to_string(b) + ".body";
      const int y = g.conv(name + ".2", g.relu(g.conv(name + ".0", block, byWidth())), byWidth());
      outputs.push_back(block = g.binary(Op::Add, attention(name + ".3", y), block));
    }
    x = g.binary(Op::Add, g.conv(group + std::to_string(blocks), g.stack(outputs), byWidth()), x);
  }
  x = g.binary(Op::Add, g.conv("body." + std::to_string(groups), x, byWidth()), head);
  int step = 0;
  for (int r : shuffleFactors(scale)) {
    x = g.unary(Op::PixelShuffle, g.conv("tail.0." + std::to_string(2 * step), x, byWidth(r * r)), r);
    ++step;
  }
  return Graph(scale, widths, depths, g.nodes, g.conv("add_mean", g.conv("tail.1", x, always(3)), always(3), 1));
}

// Uniform in [0, 1): splitmix64.
struct Uniform {
  uint64_t state;
  float next() {
    state += 0x9E3779B97F4A7C15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<float>((z ^ (z >> 31)) >> 40) * (1.f / (1 << 24));
  }
};

// Kaiming-sized, so that the network's own part is not lost beside its skip (as it is in a fresh initialisation); what
// ends a residual branch is smaller, so that hundreds of them in a row do not blow up.
inline std::vector<float> timingWeights(const Graph& graph, uint64_t seed) {
  Uniform random{seed};
  std::vector<float> values(static_cast<size_t>(graph.parameterCount()));
  for (const Parameter& p : graph.parameters()) {
    const std::string& name = graph.nodes()[static_cast<size_t>(p.node)].name;
    // RCAN: every convolution of the body but the first of each block.
    const bool branchEnd = name.ends_with("conv2") || (name.starts_with("body.") && !name.ends_with(".body.0"));
    const float fan = p.isBias ? 1.f : static_cast<float>(p.count / p.shape[0]);
    const float range = p.isBias ? 0.02f : std::sqrt(6.f / fan) * (branchEnd ? 0.3f : 1.f);
    for (int64_t i = 0; i < p.count; ++i) values[static_cast<size_t>(p.offset + i)] = (2 * random.next() - 1) * range;
  }
  return values;
}

}  // namespace wbsr::networks

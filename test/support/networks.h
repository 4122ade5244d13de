// SRResNet and RCAN of method.md section 1 as lib/networks writes them, with their published parameter names, and weights
// with which every layer matters for the output. For the native checks and for bench/gpu.
#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "core/random.h"
#include "support/graph_builder.h"

namespace wbsr::networks {

using test::graphs::Builder;
using test::graphs::fixed;

inline std::vector<int> shuffleFactors(int scale) {
  return scale == 4 ? std::vector<int>{2, 2} : std::vector<int>{scale};
}

inline Graph srresnet(int scale, const std::vector<int>& widths, const std::vector<int>& depths) {
  constexpr float gain = 0.1f;
  Builder g;
  const int image = g.input();
  int x = g.leaky(g.conv("conv_first", image, test::graphs::width(), 3, true, gain));
  std::vector<int> outputs{x};
  for (int i = 0; i < depths.back(); ++i) {
    const std::string name = "recon_trunk." + std::to_string(i);
    const int y = g.relu(g.conv(name + ".conv1", x, test::graphs::width(), 3, true, gain));
    outputs.push_back(x = g.add(g.conv(name + ".conv2", y, test::graphs::width(), 3, true, gain), x));
  }
  x = g.stack(outputs);
  int step = 0;
  for (int r : shuffleFactors(scale))
    x = g.leaky(g.shuffle(g.conv("upconv" + std::to_string(++step), x, test::graphs::width(r * r), 3, true, gain), r));
  x = g.leaky(g.conv("HRconv", x, test::graphs::width(), 3, true, gain));
  const int out = g.add(g.conv("conv_last", x, fixed(3), 3, true, gain), g.upsample(image, scale));
  return Graph(scale, widths, depths, g.nodes, out);
}

inline Graph rcan(int scale, const std::vector<int>& widths, const std::vector<int>& depths, int groups = 10) {
  Builder g;
  const int blocks = depths.back();
  const auto attention = [&](const std::string& name, int x) {
    const int squeezed = g.relu(g.conv(name + ".conv_du.0", g.globalPool(x), test::graphs::width(1, 16), 1));
    return g.scaleChannels(x, g.sigmoid(g.conv(name + ".conv_du.2", squeezed, test::graphs::width(), 1)));
  };
  const int image = g.input();
  const int head = g.conv("head.0", g.conv("sub_mean", image, fixed(3), 1), test::graphs::width());
  int x = head;
  for (int i = 0; i < groups; ++i) {
    const std::string group = "body." + std::to_string(i) + ".body.";
    int block = x;
    std::vector<int> outputs{block};
    for (int b = 0; b < blocks; ++b) {
      const std::string name = group + std::to_string(b) + ".body";
      const int y =
          g.conv(name + ".2", g.relu(g.conv(name + ".0", block, test::graphs::width())), test::graphs::width());
      outputs.push_back(block = g.add(attention(name + ".3", y), block));
    }
    x = g.add(g.conv(group + std::to_string(blocks), g.stack(outputs), test::graphs::width()), x);
  }
  x = g.add(g.conv("body." + std::to_string(groups), x, test::graphs::width()), head);
  int step = 0;
  for (int r : shuffleFactors(scale)) {
    x = g.shuffle(g.conv("tail.0." + std::to_string(2 * step), x, test::graphs::width(r * r)), r);
    ++step;
  }
  return Graph(scale, widths, depths, g.nodes, g.conv("add_mean", g.conv("tail.1", x, fixed(3)), fixed(3), 1));
}

// Uniform in [0, 1).
struct Uniform {
  SplitMix64 random;
  float next() { return static_cast<float>(random.next() >> 40) * (1.f / (1 << 24)); }
};

// Kaiming-sized, so that the network's own part is not lost beside its skip (as it is in a fresh initialisation); what
// ends a residual branch is smaller, so that hundreds of them in a row do not blow up.
inline std::vector<float> timingWeights(const Graph& graph, uint64_t seed) {
  Uniform random{{seed}};
  std::vector<float> values(static_cast<size_t>(graph.parameterCount()));
  for (const Parameter& p : graph.parameters()) {
    const std::string name = graph.nodes()[static_cast<size_t>(p.node)].op->name();
    // RCAN: every convolution of the body but the first of each block.
    const bool branchEnd = name.ends_with("conv2") || (name.starts_with("body.") && !name.ends_with(".body.0"));
    const bool bias = p.shape.size() == 1;
    const float fan = bias ? 1.f : static_cast<float>(p.count / p.shape[0]);
    const float range = bias ? 0.02f : std::sqrt(6.f / fan) * (branchEnd ? 0.3f : 1.f);
    for (int64_t i = 0; i < p.count; ++i) values[static_cast<size_t>(p.offset + i)] = (2 * random.next() - 1) * range;
  }
  return values;
}

}  // namespace wbsr::networks

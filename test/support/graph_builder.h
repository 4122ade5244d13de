// Writes graphs in C++ as lib/networks does in TypeScript, for the native checks and the GPU benchmarks.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/graph.h"

namespace wbsr::test::graphs {

struct Builder {
  std::vector<Node> nodes;
  int node(const std::string& op, std::vector<int> inputs, const Attributes& attributes = {}) {
    nodes.push_back(makeNode(op, std::move(inputs), attributes));
    return static_cast<int>(nodes.size()) - 1;
  }
  int input(int channels = 3) { return node("input", {}, {{"channels", ChannelRule{false, channels, 1, 1}}}); }
  // Named by its place.
  int conv(int in, ChannelRule rule, int kernel = 3, bool bias = true) {
    return conv("conv" + std::to_string(nodes.size()), in, rule, kernel, bias);
  }
  int conv(const std::string& name, int in, ChannelRule rule, int kernel = 3, bool bias = true, double gain = 1) {
    return node("conv", {in},
                {{"name", name}, {"channels", rule}, {"kernel", double(kernel)}, {"bias", bias}, {"initGain", gain}});
  }
  int relu(int in) { return node("activation", {in}, {{"activation", std::string("relu")}}); }
  int leaky(int in, double slope = 0.1) {
    return node("activation", {in}, {{"activation", std::string("leakyRelu")}, {"slope", slope}});
  }
  int sigmoid(int in) { return node("activation", {in}, {{"activation", std::string("sigmoid")}}); }
  int add(int a, int b) { return node("add", {a, b}); }
  int shuffle(int in, int factor) { return node("pixelShuffle", {in}, {{"factor", double(factor)}}); }
  int upsample(int in, int factor, bool cubic = false) {
    return node("upsample", {in}, {{"factor", double(factor)}, {"cubic", cubic}});
  }
  int globalPool(int in) { return node("globalPool", {in}); }
  int scaleChannels(int in, int factors) { return node("scaleChannels", {in, factors}); }
  int stack(std::vector<int> outputs) { return node("stack", std::move(outputs)); }
};
inline ChannelRule width(int num = 1, int den = 1) { return {true, 0, num, den}; }
inline ChannelRule fixed(int n) { return {false, n, 1, 1}; }

}  // namespace wbsr::test::graphs

// Properties that Graph computes: channels and slices of the parameters at every width, accepted sizes, the
// receptive field and the cost; and the messages for networks that it refuses.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "core/adam_steps.h"
#include "core/error.h"
#include "cpu/device.h"
#include "support/graphs.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

int strided(Builder& b, const std::string& name, int x, ChannelRule channels, int kernel, int stride, int padding) {
  return b.node("conv", {x},
                {{"name", name},
                 {"channels", channels},
                 {"kernel", double(kernel)},
                 {"stride", double(stride)},
                 {"padding", double(padding)}});
}

std::string text(const Ranges& ranges) {
  std::string all;
  for (const Range& r : ranges) all += std::to_string(r.from) + "+" + std::to_string(r.count) + " ";
  return all;
}

void same(const std::string& found, const std::string& wanted, const std::string& what) {
  check(found == wanted, what + ": " + found + " instead of " + wanted);
}

// A concatenation of 16 and 4 channels at width 16, of 8 and 2 at width 8, and what follows it.
void slicesBehindConcat() {
  Builder b;
  const int image = b.input();
  const int joined = b.node("concat", {b.conv("a", image, width()), b.conv("b", image, width(1, 4))});
  const int active = b.node("prelu", {b.sigmoid(joined)}, {{"name", "p"}});
  const int deep = b.node("conv", {active}, {{"name", "d"}, {"kernel", 3.0}, {"depthwise", true}});
  const int grouped = b.node("conv", {b.conv("c", deep, width(), 1)},
                             {{"name", "g"}, {"channels", width(2)}, {"kernel", 1.0}, {"groups", 2.0}});
  const Graph graph(1, {8, 16}, {1}, b.nodes, b.conv("e", grouped, fixed(3), 1));
  std::map<std::string, size_t> indexOf;
  for (size_t p = 0; p < graph.parameters().size(); ++p) indexOf[graph.parameters()[p].name] = p;
  const auto ranges = [&](const std::string& name, size_t dimension, int at) {
    const int p = static_cast<int>(indexOf.at(name)), node = graph.parameters()[static_cast<size_t>(p)].node;
    return text(graph.at(at).parameters[static_cast<size_t>(node)][static_cast<size_t>(p - graph.firstParameter(node))]
                                       [dimension]);
  };
  same(ranges("p.weight", 0, 8), "0+8 16+2 ", "prelu at width 8");
  same(ranges("p.weight", 0, 16), "0+20 ", "prelu at width 16");
  same(ranges("d.weight", 0, 8), "0+8 16+2 ", "depthwise filters");
  same(ranges("d.weight", 1, 8), "0+1 ", "depthwise inputs");
  same(ranges("c.weight", 1, 8), "0+8 16+2 ", "inputs of the 1x1 convolution");
  same(ranges("c.weight", 0, 8), "0+8 ", "its outputs");
  same(ranges("g.weight", 0, 8), "0+8 16+8 ", "outputs in two groups");
  same(ranges("g.weight", 1, 8), "0+4 ", "inputs of a group");
  same(ranges("e.weight", 1, 8), "0+8 16+8 ", "inputs behind groups");
  const Parameter& g = graph.parameters()[indexOf.at("g.weight")];
  check(g.shape == std::vector<int>{32, 8, 1, 1}, "shape of a convolution in groups");

  // Adam's shells are what each width adds.
  const ParameterShells shells = parameterShells(graph)[indexOf.at("c.weight")];
  const std::vector<int> inside{0, 7, 16, 17}, outside{8, 15, 18, 19};
  for (int i : inside)
    check(shells.columns[static_cast<size_t>(i)] == 0, "column " + std::to_string(i) + " of width 8");
  for (int i : outside)
    check(shells.columns[static_cast<size_t>(i)] == 1, "column " + std::to_string(i) + " of width 16");
  check(shells.rows[7] == 0 && shells.rows[8] == 1 && shells.area == 1, "rows");

  // 2 MAC on 32 x 32, and parameters, by hand: a, b, p, d, c, g, e at width 8.
  const SubnetInfo& small = graph.subnets()[0];
  check(small.flops == 2 * 1024 * (9 * 3 * 8 + 9 * 3 * 2 + 9 * 10 + 10 * 8 + 4 * 16 + 16 * 3),
        "cost: " + std::to_string(small.flops));
  check(small.parameters ==
            (9 * 3 * 8 + 8) + (9 * 3 * 2 + 2) + 10 + (9 * 10 + 10) + (10 * 8 + 8) + (4 * 16 + 16) + (16 * 3 + 3),
        "parameters: " + std::to_string(small.parameters));
  check(touchedWidths(graph, {0}) == std::vector<int>(graph.parameters().size(), 0), "width 8 touches the first shell");
}

// A subnet keeps the first channels of an order, in ascending order, and what follows keeps the same.
void slicesInOrder() {
  const Graph graph = ordered();
  const auto ranges = [&](const std::string& op, size_t place, int at) {
    for (size_t i = 0; i < graph.nodes().size(); ++i)
      if (graph.nodes()[i].op->kind() == op && place-- == 0) return text(graph.at(at).channels[i].ranges);
    return std::string("none");
  };
  same(ranges("conv", 0, 4), "1+1 3+2 6+1 ", "the first four of the order");
  same(ranges("conv", 0, 8), "0+8 ", "all of the order");
  same(ranges("add", 0, 4), "1+1 3+2 6+1 ", "a sum");
  same(ranges("conv", 2, 4), "1+1 3+2 6+1 ", "a depthwise convolution");
  same(ranges("slice", 0, 4), "1+1 3+1 ", "the first half");
  same(ranges("slice", 1, 4), "0+1 2+1 ", "the second half");
  same(ranges("concat", 0, 4), "0+1 2+1 5+2 ", "a concatenation");
  same(ranges("pixelShuffle", 0, 4), "1+1 3+2 6+1 ", "a shuffle");
  same(ranges("convTranspose", 0, 4), "1+1 3+2 6+1 ", "a transposed convolution");
}

Graph halving() {
  Builder b;
  const int image = b.input();
  const int half = strided(b, "down", b.conv("first", image, width()), width(), 3, 2, 1);
  return Graph(1, {8}, {1}, b.nodes, b.shuffle(b.conv("last", b.relu(half), fixed(12)), 2));
}

Graph unshuffled() {
  Builder b;
  const int small = b.node("pixelUnshuffle", {b.input()}, {{"factor", 2.0}});
  return Graph(2, {8}, {1}, b.nodes, b.shuffle(b.conv("last", b.conv("first", small, width()), fixed(48)), 4));
}

// ESA of RLFN: stride 2 without padding, pooling 7 with stride 3, and back to the size of the value.
Graph attention() {
  Builder b;
  const int x = b.conv("x", b.input(), width());
  const int low = strided(b, "low", x, width(), 3, 2, 0);
  const int pooled = b.node("pool", {low}, {{"kind", "max"}, {"kernel", 7.0}, {"stride", 3.0}});
  const int back = b.node("resizeLike", {b.conv("mid", pooled, width()), x});
  const int gated = b.node("multiply", {x, b.sigmoid(b.conv("gate", back, width(), 1))});
  return Graph(1, {8}, {1}, b.nodes, b.conv("out", gated, fixed(3)));
}

Graph resizing() {
  Builder b;
  const int x = b.conv("x", b.input(), width());
  const int large = b.node("convTranspose", {x},
                           {{"name", "t"},
                            {"channels", width()},
                            {"kernel", 6.0},
                            {"stride", 3.0},
                            {"padding", 2.0},
                            {"outputPadding", 1.0}});
  const int less = b.node("upsample", {large}, {{"factor", 2.0}, {"divisor", 3.0}, {"mode", "nearest"}});
  const int cubic = b.node("upsample", {less}, {{"factor", 3.0}, {"divisor", 2.0}, {"mode", "bicubic"}});
  const int averaged = b.node("pool", {cubic}, {{"kind", "average"}, {"kernel", 3.0}, {"stride", 3.0}});
  return Graph(1, {6}, {1}, b.nodes, b.conv("out", averaged, fixed(3), 1));
}

void sizes() {
  const auto sidesOf = [](const Graph& graph) {
    return std::to_string(graph.minimumSize()) + " " + std::to_string(graph.sizeMultiple());
  };
  same(sidesOf(srresnet(4, {8}, {1})), "1 1", "any side");
  same(sidesOf(everything()), "1 1", "any side with pooling");
  same(sidesOf(halving()), "2 2", "a stride and a shuffle");
  same(sidesOf(unshuffled()), "2 2", "pixelUnshuffle");
  same(sidesOf(attention()), "15 1", "ESA");
  same(sidesOf(resizing()), "1 1", "back to the same size");
  check(attention().subnets()[0].receptiveField == 1 << 20, "resizeLike reaches everywhere");
  check(halving().subnets()[0].receptiveField == 5,
        "1 + 1.5 + 2 pixels: " + std::to_string(halving().subnets()[0].receptiveField));
}

// A change of one input pixel moves no output pixel beyond the receptive field.
void reaches(const Graph& graph, const std::string& name) {
  const SubnetInfo& subnet = graph.subnets().back();
  const int side = 24, scale = graph.scale();
  const auto device = cpu::makeDevice(graph, 1, nullptr);
  device->setArena(Arena::Weights, toFloat(randomParameters(graph, 5)).data());
  Random random{3};
  std::vector<float> x(size_t{3} * side * side), before(x.size() * scale * scale), after(before.size());
  for (float& v : x) v = static_cast<float>(random.next());
  device->forward(subnet.index, x.data(), before.data(), 1, side, side);
  int farthest = 0;
  for (const int at : {9, 10, 11, 12, 13, 14}) {
    std::vector<float> changed = x;
    for (int c = 0; c < 3; ++c) changed[static_cast<size_t>((c * side + at) * side + at)] += 1;
    device->forward(subnet.index, changed.data(), after.data(), 1, side, side);
    const int edge = side * scale;
    for (size_t i = 0; i < after.size(); ++i) {
      const int row = static_cast<int>(i) / edge % edge, column = static_cast<int>(i) % edge;
      // Winograd's transforms round neighbours otherwise.
      if (std::fabs(after[i] - before[i]) > 2e-5f)
        farthest = std::max({farthest, std::abs(row / scale - at), std::abs(column / scale - at)});
    }
  }
  check(farthest <= subnet.receptiveField && farthest >= subnet.receptiveField - 1,
        name + " reaches " + std::to_string(farthest) + " pixels, said " + std::to_string(subnet.receptiveField));
}

// `build` writes a graph whose output is scale 1; the words of its refusal.
std::string refusal(const std::function<int(Builder&)>& build) {
  try {
    Builder b;
    const int output = build(b);
    const Graph graph(1, {8}, {1}, b.nodes, output);
  } catch (const Error& error) {
    return error.code + ": " + error.what();
  }
  return "none";
}

void refusals() {
  const auto expect = [](const std::string& words, const std::function<int(Builder&)>& build) {
    const std::string found = refusal(build);
    check(found.find("WBSR_INVALID_OPTION: ") == 0 && found.find(words) != std::string::npos,
          "refused with '" + words + "': " + found);
  };
  expect("unknown operator squeeze", [](Builder& b) { return b.node("squeeze", {b.input()}); });
  expect("unknown attribute slop", [](Builder& b) { return b.node("add", {b.input(), 0}, {{"slop", 1.0}}); });
  expect("Expected 'relu', 'leakyRelu', 'sigmoid'", [](Builder& b) {
    return b.node("activation", {b.input()}, {{"activation", "swish"}});
  });
  expect("Expected an integer between 1 and 15 for kernel but received 16",
         [](Builder& b) { return b.conv("a", b.input(), fixed(3), 16); });
  expect("expects 2 to 16 inputs, has 1",
         [](Builder& b) { return b.conv("a", b.node("concat", {b.input()}), fixed(3)); });
  expect("its inputs differ in size", [](Builder& b) {
    const int image = b.input();
    return b.add(image, b.node("pixelShuffle", {b.conv("a", image, fixed(12))}, {{"factor", 2.0}}));
  });
  expect("affine has 2 constants for 3 channels", [](Builder& b) {
    return b.node("affine", {b.input()}, {{"scale", std::vector<double>{1, 2}}, {"offset", std::vector<double>{1}}});
  });
  expect("2 groups of 3 channels", [](Builder& b) {
    return b.node("conv", {b.input()}, {{"name", "a"}, {"channels", fixed(4)}, {"kernel", 1.0}, {"groups", 2.0}});
  });
  expect("channels 2 to 4 of 3", [](Builder& b) {
    return b.node("slice", {b.input()}, {{"from", fixed(2)}, {"channels", fixed(3)}});
  });
  const auto inOrder = [](Builder& b, std::vector<double> order, double groups) {
    return b.node("conv", {b.input()},
                  {{"name", "a"}, {"channels", fixed(3)}, {"kernel", 1.0}, {"order", order}, {"groups", groups}});
  };
  expect("order must hold each of 0 to 2 once", [&](Builder& b) { return inOrder(b, {2, 0, 0}, 1); });
  expect("order must hold each of 0 to 2 once", [&](Builder& b) { return inOrder(b, {1, 0}, 1); });
  expect("Expected integers between 0 and 65535 for order", [&](Builder& b) { return inOrder(b, {0, 1.5, 2}, 1); });
  expect("of one in groups have no order", [&](Builder& b) { return inOrder(b, {0, 1, 2}, 3); });
  expect("needs all sub-pixels of a channel", [](Builder& b) {
    const Attributes attributes{
        {"name", "a"}, {"channels", width(1)}, {"kernel", 1.0}, {"order", std::vector<double>{0, 1, 2, 4, 3, 5, 6, 7}}};
    b.shuffle(b.node("conv", {b.input()}, attributes), 2);
    return Graph(2, {4, 8}, {1}, b.nodes, 2).output();
  });
  expect("must be the stride", [](Builder& b) {
    return b.node("convTranspose", {b.input()},
                  {{"name", "a"}, {"channels", fixed(3)}, {"kernel", 3.0}, {"stride", 2.0}, {"padding", 1.0}});
  });
  expect("the output is not 1 times the input's size, whatever that is",
         [](Builder& b) { return strided(b, "a", b.input(), fixed(3), 3, 1, 0); });
  expect("prelu unused does not reach the output", [](Builder& b) {
    const int image = b.input(), out = b.conv("a", image, fixed(3));
    b.node("prelu", {image}, {{"name", "unused"}});
    return out;
  });
}

}  // namespace

int main() {
  try {
    slicesBehindConcat();
    slicesInOrder();
    sizes();
    reaches(halving(), "a stride and a shuffle");
    reaches(unshuffled(), "pixelUnshuffle");
    reaches(resizing(), "convTranspose, resizing and pooling");
    reaches(srresnet(2, {8}, {2}), "srresnet");
    refusals();
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}

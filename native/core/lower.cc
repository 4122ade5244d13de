// Graph + subnet -> forward steps.
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/operators/crop.h"
#include "core/program.h"

namespace wbsr {
namespace {

constexpr int kThin = 8;  // values with fewer channels are planar

// Crop positions must be multiples of this, in LR pixels, so that they are whole pixels in every value of the tail and
// in its inputs.
int alignment(const Graph& graph, const std::vector<bool>& alive, const std::vector<int>& value) {
  int multiple = 1;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    if (!alive[i] || !graph.tailNodes()[i]) continue;
    multiple = std::lcm(multiple, graph.resolutions()[i].den);
    for (int input : graph.nodes()[i].inputs)
      multiple = std::lcm(multiple, graph.resolutions()[static_cast<size_t>(value[input])].den);
  }
  return multiple;
}

}  // namespace

Keep coveredBy(const Graph& graph, const SubnetInfo& subnet, int height, int width, const Keep& keep) {
  std::vector<bool> alive;
  const std::vector<int> value = graph.resolve(subnet.depth, alive);
  // Without a tail (scale 1) nothing is cropped.
  if (keep.width <= 0 || !graph.tailNodes()[value[graph.output()]]) return {0, 0, width, height};
  // The kept part plus the tail's receptive field, inside the region.
  const int margin = subnet.tailField, multiple = alignment(graph, alive, value);
  const auto before = [&](int position) { return std::max(0, position - margin) / multiple * multiple; };
  const auto after = [&](int position, int most) {
    return std::min(most, (position + margin + multiple - 1) / multiple * multiple);
  };
  const int left = before(keep.x), top = before(keep.y);
  const int right = after(keep.x + keep.width, width), bottom = after(keep.y + keep.height, height);
  return {left, top, right - left, bottom - top};
}

Program lower(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width, const Keep& keep) {
  return lowerCovered(graph, subnet, batch, height, width, coveredBy(graph, subnet, height, width, keep));
}

Program lowerCovered(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width,
                     const Keep& covered) {
  const auto& nodes = graph.nodes();
  std::vector<bool> alive;
  const std::vector<int> resolved = graph.resolve(subnet.depth, alive);
  const WidthInfo& info = graph.at(subnet.width);
  // A value is thin if it has few channels at the largest width, so that operands of an addition have the same layout.
  const WidthInfo& most = graph.at(graph.widths().back());
  const std::vector<bool>& tail = graph.tailNodes();

  Program program;
  program.batch = batch;
  program.covered = covered;
  const bool cropped = !(covered == Keep{0, 0, width, height});

  std::vector<int> valueOf(nodes.size(), -1), croppedOf(nodes.size(), -1);
  const auto addValue = [&](size_t node, const Size& size) {
    Value value;
    value.channels = info.channels[node].count;
    value.height = size.height;
    value.width = size.width;
    value.thin = most.channels[node].count < kThin;
    value.pooled = graph.resolutions()[node].pooled;
    program.values.push_back(value);
    return static_cast<int>(program.values.size()) - 1;
  };
  // The part of a value that the tail needs. The crop is inserted for the first reader.
  const auto cropOf = [&](size_t node) {
    if (croppedOf[node] >= 0) return croppedOf[node];
    const Resolution& r = graph.resolutions()[node];
    const Value source = program.values[static_cast<size_t>(valueOf[node])];
    // If the covered part ends with the input, the crop ends with the value.
    const auto cut = [&r](int from, int count, int all, int size) {
      const int first = from * r.num / r.den;
      return Range{first, from + count == all ? size - first : count * r.num / r.den};
    };
    const Range rows = cut(covered.y, covered.height, height, source.height),
                columns = cut(covered.x, covered.width, width, source.width);
    Step crop;
    crop.kind = operators::Crop::kKind;
    crop.op = std::make_shared<operators::Crop>(columns.from, rows.from, Size{rows.count, columns.count});
    crop.in = {valueOf[node]};
    crop.out = croppedOf[node] = addValue(node, {rows.count, columns.count});
    program.steps.push_back(std::move(crop));
    return croppedOf[node];
  };

  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (!alive[i] || node.op->selected(0) >= 0) continue;
    if (node.op->isInput()) {
      program.input = valueOf[i] = addValue(i, {height, width});
      continue;
    }
    Step step;
    step.kind = node.op->kind();
    step.op = node.op->atWidth({subnet.width, graph.widths().back()});
    if (!step.op) step.op = node.op;
    step.node = static_cast<int>(i);
    std::vector<Size> sizes;
    for (const int input : node.inputs) {
      const size_t from = static_cast<size_t>(resolved[input]);
      const bool cut = cropped && tail[i] && !tail[from] && !graph.resolutions()[from].pooled;
      step.in.push_back(cut ? cropOf(from) : valueOf[from]);
      const Value& value = program.values[static_cast<size_t>(step.in.back())];
      sizes.push_back({value.height, value.width});
    }
    for (size_t p = 0; p < info.parameters[i].size(); ++p)
      step.parameters.push_back({graph.firstParameter(step.node) + static_cast<int>(p), info.parameters[i][p]});
    try {
      const Size size = node.op->size(sizes);
      if (size.height < 1 || size.width < 1) invalidNode("nothing is left of the picture");
      step.out = valueOf[i] = addValue(i, size);
    } catch (const InvalidNode& invalid) {
      throw Error("WBSR_INVALID_OPTION", "network node " + std::to_string(i) + " on a picture of " +
                                             std::to_string(width) + "x" + std::to_string(height) + ": " +
                                             invalid.what);
    }
    program.steps.push_back(std::move(step));
  }
  program.output = valueOf[resolved[graph.output()]];
  program.forwardSteps = static_cast<int>(program.steps.size());
  return program;
}

}  // namespace wbsr

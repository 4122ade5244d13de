#include "core/graph.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "core/error.h"

namespace wbsr {
namespace {

constexpr int kMostEnlarged = 64;
constexpr int kUnbounded = 1 << 20;  // receptive field of a network with global pooling
constexpr int kPatch = 32;           // FLOPs are those of an LR patch of that side

[[noreturn]] void bad(size_t node, const std::string& what) {
  throw Error("WBSR_INVALID_OPTION", "network node " + std::to_string(node) + ": " + what);
}

// Adds the node's number to the error of an operator.
template <class Work>
auto atNode(size_t node, Work work) {
  try {
    return work();
  } catch (const InvalidNode& invalid) {
    bad(node, invalid.what);
  }
}

template <class Type>
std::vector<Type> inputsOf(const Node& node, const std::vector<Type>& all) {
  std::vector<Type> in;
  for (const int input : node.inputs) in.push_back(all[static_cast<size_t>(input)]);
  return in;
}

int64_t productOf(const std::vector<int>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

int64_t countOf(const std::vector<Ranges>& dimensions) {
  int64_t count = 1;
  for (const Ranges& ranges : dimensions) {
    int64_t sum = 0;
    for (const Range& range : ranges) sum += range.count;
    count *= sum;
  }
  return count;
}

bool isStack(const Node& node) { return node.op->selected(0) >= 0; }

}  // namespace

WidthInfo Graph::widthInfo(int width) const {
  WidthInfo info;
  for (size_t i = 0; i < nodes_.size(); ++i)
    atNode(i, [&] {
      const Node& node = nodes_[i];
      const std::vector<Channels> in = inputsOf(node, info.channels);
      const Channels out = node.op->channels(in, {width, widths_.back()});
      std::vector<std::vector<Ranges>> slices;
      for (const ParameterSpec& spec : node.op->parameters(in, out)) slices.push_back(spec.ranges);
      info.channels.push_back(out);
      info.parameters.push_back(std::move(slices));
    });
  return info;
}

const WidthInfo& Graph::at(int width) const {
  const auto found = std::find(widths_.begin(), widths_.end(), width);
  WBSR_CHECK(found != widths_.end());
  return byWidth_[static_cast<size_t>(found - widths_.begin())];
}

std::vector<int> Graph::channels(int width) const {
  std::vector<int> channels;
  for (const Channels& c : at(width).channels) channels.push_back(c.count);
  return channels;
}

std::vector<int> Graph::resolve(int depth, std::vector<bool>& alive) const {
  std::vector<int> value(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const int selected = nodes_[i].op->selected(depth);
    value[i] = selected >= 0 ? value[nodes_[i].inputs[selected]] : static_cast<int>(i);
  }
  alive.assign(nodes_.size(), false);
  alive[value[output_]] = true;
  for (int i = static_cast<int>(nodes_.size()) - 1; i >= 0; --i)
    if (alive[i] && !isStack(nodes_[i]))
      for (int input : nodes_[i].inputs) alive[value[input]] = true;
  return value;
}

void Graph::check() const {
  std::set<std::string> names;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    const Operator& op = *node.op;
    if (op.isInput() != (i == 0)) bad(i, "the first node, and no other, is the input");
    for (int input : node.inputs)
      if (input < 0 || input >= static_cast<int>(i)) bad(i, "its inputs must come before it");
    const int inputs = static_cast<int>(node.inputs.size());
    if (isStack(node)) {
      if (inputs <= depths_.back()) bad(i, "a stack needs its input and one output per block of the largest depth");
    } else if (inputs < op.leastInputs() || inputs > op.mostInputs()) {
      const std::string least = std::to_string(op.leastInputs());
      bad(i, "expects " +
                 (op.leastInputs() == op.mostInputs() ? least : least + " to " + std::to_string(op.mostInputs())) +
                 " inputs, has " + std::to_string(inputs));
    }
    if (!op.name().empty() && !names.insert(op.name()).second) bad(i, "the name " + op.name() + " is taken");
  }
}

void Graph::findResolutions() {
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Resolution r = atNode(i, [&] { return nodes_[i].op->resolution(inputsOf(nodes_[i], resolutions_)); });
    if (r.num > kMostEnlarged * r.den)
      bad(i, "it is more than " + std::to_string(kMostEnlarged) + " times the input's size");
    resolutions_.push_back(r);
  }
}

void Graph::findTail() {
  tail_.resize(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) tail_[i] = resolutions_[i].num > resolutions_[i].den;
  // A convolution that only feeds PixelShuffle belongs to the tail, because a crop saves most where channels are many.
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].op->ordersChannels() || resolutions_[i] != Resolution{}) continue;
    bool feeds = false, only = true;
    for (size_t j = i + 1; j < nodes_.size(); ++j)
      for (int input : nodes_[j].inputs)
        if (input == static_cast<int>(i)) (nodes_[j].op->shuffles() ? feeds : only) = nodes_[j].op->shuffles();
    tail_[i] = feeds && only;
  }
}

// In node order, at the largest width.
void Graph::addParameters() {
  const WidthInfo& full = byWidth_.back();
  std::vector<bool> alive;
  resolve(depths_.back(), alive);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    firstParameter_.push_back(static_cast<int>(parameters_.size()));
    for (const ParameterSpec& spec : node.op->parameters(inputsOf(node, full.channels), full.channels[i])) {
      if (!alive[i]) bad(i, std::string(node.op->kind()) + " " + node.op->name() + " does not reach the output");
      Parameter parameter{spec.name,           spec.shape,  parameterCount_, productOf(spec.shape),
                          static_cast<int>(i), spec.random, spec.value};
      parameterCount_ += parameter.count;
      parameters_.push_back(std::move(parameter));
    }
  }
}

// Whether every value at every depth has a pixel and the output has scale times the input's side.
bool Graph::takesSide(int side) const {
  for (const int depth : depths_) {
    std::vector<bool> alive;
    const std::vector<int> value = resolve(depth, alive);
    std::vector<Size> sizes(nodes_.size());
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& node = nodes_[i];
      if (!alive[i] || isStack(node)) continue;
      std::vector<Size> in;
      for (const int input : node.inputs) in.push_back(sizes[static_cast<size_t>(value[static_cast<size_t>(input)])]);
      try {
        sizes[i] = node.op->isInput() ? Size{side, side} : node.op->size(in);
      } catch (const InvalidNode&) {
        return false;
      }
      if (sizes[i].height < 1 || sizes[i].width < 1) return false;
    }
    const Size& last = sizes[static_cast<size_t>(value[static_cast<size_t>(output_)])];
    if (last != Size{side * scale_, side * scale_}) return false;
  }
  return true;
}

void Graph::findSizes() {
  constexpr int kMostMultiple = 64, kLargest = 320;
  // Without values smaller than LR, all sizes are proportional to the side, so checking two sides is enough.
  const bool plain =
      std::all_of(resolutions_.begin(), resolutions_.end(), [](const Resolution& r) { return r.den == 1; });
  if (plain && takesSide(1) && takesSide(2)) return;
  std::vector<bool> takes(kLargest + 1, false);
  for (int side = 1; side <= kLargest; ++side) takes[static_cast<size_t>(side)] = takesSide(side);
  for (int multiple = 1; multiple <= kMostMultiple; ++multiple) {
    int least = 0;  // all multiples from here on are accepted
    for (int side = kLargest / multiple * multiple; side > 0 && takes[static_cast<size_t>(side)]; side -= multiple)
      least = side;
    if (least == 0 || least > kLargest / 2) continue;
    minimumSize_ = least;
    sizeMultiple_ = multiple;
    return;
  }
  bad(static_cast<size_t>(output_),
      "the output is not " + std::to_string(scale_) + " times the input's size, whatever that is");
}

SubnetInfo Graph::describe(int width, int depth) const {
  const WidthInfo& info = at(width);
  std::vector<bool> alive;
  const std::vector<int> value = resolve(depth, alive);
  SubnetInfo subnet;
  subnet.width = width;
  subnet.depth = depth;
  // Radii in 1/840 LR pixel, so that factors up to 8 divide exactly.
  constexpr int kUnit = 840;
  constexpr int64_t kMost = int64_t{kUnit} * kUnbounded;
  std::vector<int64_t> radius(nodes_.size(), 0), tailRadius(nodes_.size(), 0);
  const auto pixelsOf = [&](int node) {
    const Resolution& r = resolutions_[static_cast<size_t>(node)];
    return r.pooled ? int64_t{1} : int64_t{kPatch} * kPatch * r.num * r.num / (r.den * r.den);
  };
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (!alive[i] || isStack(node) || node.op->isInput()) continue;
    std::vector<Channels> in;
    std::vector<Resolution> at;
    for (int input : node.inputs) {
      radius[i] = std::max(radius[i], radius[value[input]]);
      tailRadius[i] = std::max(tailRadius[i], tailRadius[value[input]]);
      in.push_back(info.channels[value[input]]);
      at.push_back(resolutions_[value[input]]);
    }
    const Reach look = node.op->reach(at);
    int64_t reach = 0;
    if (look.unbounded)
      reach = kMost;
    else if (!at[0].pooled)
      reach = int64_t{kUnit} * look.num * at[0].den / (int64_t{look.den} * at[0].num);
    radius[i] = std::min(radius[i] + reach, kMost);
    if (tail_[i]) tailRadius[i] = std::min(tailRadius[i] + reach, kMost);
    const int64_t flops = 2 * node.op->multiplications(in, info.channels[i], pixelsOf(value[node.inputs[0]]),
                                                       pixelsOf(static_cast<int>(i)));
    subnet.flops += flops;
    if (tail_[i]) subnet.tailFlops += flops;
    for (const auto& ranges : info.parameters[i]) subnet.parameters += countOf(ranges);
  }
  const int last = value[output_];
  subnet.receptiveField = static_cast<int>((radius[last] + kUnit - 1) / kUnit);
  subnet.tailField = static_cast<int>((tailRadius[last] + kUnit - 1) / kUnit);
  return subnet;
}

Graph::Graph(int scale, std::vector<int> widths, std::vector<int> depths, std::vector<Node> nodes, int output)
    : scale_(scale), widths_(std::move(widths)), depths_(std::move(depths)), nodes_(std::move(nodes)), output_(output) {
  if (widths_.empty() || depths_.empty())
    throw Error("WBSR_INVALID_OPTION", "a network needs at least one width and one depth");
  std::sort(widths_.begin(), widths_.end());
  std::sort(depths_.begin(), depths_.end());
  if (widths_.front() < 1 || depths_.front() < 0)
    throw Error("WBSR_INVALID_OPTION", "a network's widths are at least 1, its depths at least 0");
  if (nodes_.empty() || output_ < 0 || output_ >= static_cast<int>(nodes_.size()))
    throw Error("WBSR_INVALID_OPTION", "the network's output is not one of its nodes");
  check();
  findResolutions();
  for (int width : widths_) {
    byWidth_.push_back(widthInfo(width));
    if (byWidth_.back().channels[output_].count != 3) bad(output_, "the output must have 3 channels");
  }
  std::vector<bool> alive;
  for (int depth : depths_)
    if (resolve(depth, alive)[output_] == 0)
      bad(output_, "the output is the input itself at depth " + std::to_string(depth));
  if (resolutions_[output_] != Resolution{scale_, 1})
    bad(output_, "the output is not " + std::to_string(scale_) + " times the input's size");
  addParameters();
  findTail();
  findSizes();
  for (int width : widths_)
    for (int depth : depths_) subnets_.push_back(describe(width, depth));
  std::stable_sort(subnets_.begin(), subnets_.end(), [](const SubnetInfo& a, const SubnetInfo& b) {
    return a.flops != b.flops ? a.flops < b.flops : a.parameters < b.parameters;
  });
  for (size_t i = 0; i < subnets_.size(); ++i) subnets_[i].index = static_cast<int>(i);
}

}  // namespace wbsr

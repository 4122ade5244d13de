#include "core/graph.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"

namespace wbsr {
namespace {

constexpr int kMostChannels = 1 << 16, kMostEnlarged = 64;
constexpr int kUnbounded = 1 << 20;  // receptive field of a network with global pooling

[[noreturn]] void bad(size_t node, const std::string& what) {
  throw Error("WBSR_INVALID_OPTION", "network node " + std::to_string(node) + ": " + what);
}

size_t inputCount(Op op) {
  switch (op) {
    case Op::Input: return 0;
    case Op::Add:
    case Op::ScaleChannels: return 2;
    case Op::Stack: return 0;  // any number, checked apart
    default: return 1;
  }
}

// Factor by which a node's height and width exceed the LR image's; 0 for pooled 1 x 1 values.
std::vector<int> resolutions(const std::vector<Node>& nodes) {
  std::vector<int> resolution(nodes.size(), 1);
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (node.op == Op::Input) continue;
    int r = resolution[node.inputs[0]];
    if (node.op == Op::PixelShuffle || node.op == Op::Upsample) {
      if (r == 0) bad(i, "a pooled value cannot be enlarged");
      r *= node.factor;
      if (r > kMostEnlarged) bad(i, "it is more than " + std::to_string(kMostEnlarged) + " times the input's size");
    }
    if (node.op == Op::GlobalPool) {
      if (r == 0) bad(i, "a pooled value cannot be pooled again");
      r = 0;
    }
    if (node.op == Op::Add || node.op == Op::Stack)
      for (int input : node.inputs)
        if (resolution[input] != r) bad(i, "its inputs differ in size");
    if (node.op == Op::ScaleChannels && (r == 0 || resolution[node.inputs[1]] != 0))
      bad(i, "scaleChannels takes an image value and a pooled one");
    resolution[i] = r;
  }
  return resolution;
}

}  // namespace

std::vector<int> Graph::channels(int width) const {
  std::vector<int> channels(nodes_.size(), 0);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    switch (node.op) {
      case Op::Input:
      case Op::Conv:
        if (node.channels.at(width) < 1) bad(i, "no channel is left at width " + std::to_string(width));
        if (node.channels.at(width) > kMostChannels)
          bad(i, "more than " + std::to_string(kMostChannels) + " channels at width " + std::to_string(width));
        channels[i] = static_cast<int>(node.channels.at(width));
        break;
      case Op::PixelShuffle: {
        const int square = node.factor * node.factor;
        if (channels[node.inputs[0]] % square != 0)
          bad(i, "pixelShuffle " + std::to_string(node.factor) + " needs a multiple of " + std::to_string(square) +
                     " channels, has " + std::to_string(channels[node.inputs[0]]) + " at width " +
                     std::to_string(width));
        channels[i] = channels[node.inputs[0]] / square;
        break;
      }
      default:
        channels[i] = channels[node.inputs[0]];
        for (int input : node.inputs)
          if (channels[input] != channels[i])
            bad(i, "its inputs have " + std::to_string(channels[i]) + " and " + std::to_string(channels[input]) +
                       " channels at width " + std::to_string(width));
    }
  }
  return channels;
}

std::vector<int> Graph::resolve(int depth, std::vector<bool>& alive) const {
  std::vector<int> value(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i)
    value[i] = nodes_[i].op == Op::Stack ? value[nodes_[i].inputs[depth]] : static_cast<int>(i);
  alive.assign(nodes_.size(), false);
  alive[value[output_]] = true;
  for (int i = static_cast<int>(nodes_.size()) - 1; i >= 0; --i)
    if (alive[i] && nodes_[i].op != Op::Stack)
      for (int input : nodes_[i].inputs) alive[value[input]] = true;
  return value;
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

  std::set<std::string> names;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if ((node.op == Op::Input) != (i == 0)) bad(i, "the first node, and no other, is the input");
    if (node.op == Op::Input && (node.channels.scaled || node.channels.fixed != 3)) bad(i, "the input has 3 channels");
    for (int input : node.inputs)
      if (input < 0 || input >= static_cast<int>(i)) bad(i, "its inputs must come before it");
    if (node.op == Op::Stack) {
      if (static_cast<int>(node.inputs.size()) <= depths_.back())
        bad(i, "a stack needs its input and one output per block of the largest depth");
    } else if (node.inputs.size() != inputCount(node.op)) {
      bad(i, "expects " + std::to_string(inputCount(node.op)) + " inputs, has " + std::to_string(node.inputs.size()));
    }
    if (node.op == Op::Conv) {
      if (node.kernel < 1 || node.kernel > 15 || node.kernel % 2 == 0) bad(i, "the kernel must be odd and at most 15");
      if (!names.insert(node.name).second) bad(i, "the name " + node.name + " is taken");
    }
    if ((node.op == Op::PixelShuffle || node.op == Op::Upsample) && (node.factor < 1 || node.factor > 8))
      bad(i, "the factor must be between 1 and 8");
  }
  const std::vector<int> resolution = resolutions(nodes_);
  for (int width : widths_)
    if (channels(width)[output_] != 3) bad(output_, "the output must have 3 channels");
  std::vector<bool> alive;
  for (int depth : depths_)
    if (resolve(depth, alive)[output_] == 0)
      bad(output_, "the output is the input itself at depth " + std::to_string(depth));
  if (resolution[output_] != scale_)
    bad(output_, "the output is not " + std::to_string(scale_) + " times the input's size");

  // Parameters, in node order, at the largest width.
  const std::vector<int> full = channels(widths_.back());
  weightOf_.assign(nodes_.size(), -1);
  biasOf_.assign(nodes_.size(), -1);
  resolve(depths_.back(), alive);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    if (node.op != Op::Conv) continue;
    if (!alive[i]) bad(i, "convolution " + node.name + " does not reach the output");
    const int in = full[node.inputs[0]], out = full[i], k = node.kernel;
    weightOf_[i] = static_cast<int>(parameters_.size());
    Parameter weight{node.name + ".weight",
                     {out, in, k, k},
                     parameterCount_,
                     int64_t{1} * out * in * k * k,
                     static_cast<int>(i),
                     false,
                     node.initGain * std::sqrt(2.f / (in * k * k))};
    parameterCount_ += weight.count;
    parameters_.push_back(weight);
    if (node.bias) {
      biasOf_[i] = static_cast<int>(parameters_.size());
      parameters_.push_back({node.name + ".bias", {out}, parameterCount_, out, static_cast<int>(i), true, 0.f});
      parameterCount_ += out;
    }
  }

  const std::vector<bool> tail = tailNodes();
  for (int width : widths_) {
    const std::vector<int> count = channels(width);
    for (int depth : depths_) {
      const std::vector<int> value = resolve(depth, alive);
      SubnetInfo subnet;
      subnet.width = width;
      subnet.depth = depth;
      // Radii in 1/840 LR pixel, so that factors up to 8 divide exactly.
      constexpr int kUnit = 840;
      std::vector<int64_t> radius(nodes_.size(), 0), tailRadius(nodes_.size(), 0);
      for (size_t i = 0; i < nodes_.size(); ++i) {
        const Node& node = nodes_[i];
        if (!alive[i] || node.op == Op::Stack || node.op == Op::Input) continue;
        for (int input : node.inputs) {
          radius[i] = std::max(radius[i], radius[value[input]]);
          tailRadius[i] = std::max(tailRadius[i], tailRadius[value[input]]);
        }
        int64_t reach = 0;
        if (node.op == Op::Conv && resolution[i] > 0) reach = int64_t{kUnit} * (node.kernel / 2) / resolution[i];
        if (node.op == Op::Upsample) reach = int64_t{kUnit} * (node.cubic ? 2 : 1) * node.factor / resolution[i];
        if (node.op == Op::GlobalPool) reach = int64_t{kUnit} * kUnbounded;
        radius[i] = std::min(radius[i] + reach, int64_t{kUnit} * kUnbounded);
        if (tail[i]) tailRadius[i] += reach;
        if (node.op == Op::Conv) {
          const int64_t in = count[value[node.inputs[0]]], area = int64_t{node.kernel} * node.kernel;
          const int64_t side = resolution[i] == 0 ? 1 : 32 * resolution[i];
          const int64_t flops = 2 * area * in * count[i] * side * side;
          subnet.flops += flops;
          if (tail[i]) subnet.tailFlops += flops;
          subnet.parameters += area * in * count[i] + (node.bias ? count[i] : 0);
        }
      }
      const int last = value[output_];
      subnet.receptiveField = static_cast<int>((radius[last] + kUnit - 1) / kUnit);
      subnet.tailField = static_cast<int>((tailRadius[last] + kUnit - 1) / kUnit);
      subnets_.push_back(subnet);
    }
  }
  std::stable_sort(subnets_.begin(), subnets_.end(), [](const SubnetInfo& a, const SubnetInfo& b) {
    return a.flops != b.flops ? a.flops < b.flops : a.parameters < b.parameters;
  });
  for (size_t i = 0; i < subnets_.size(); ++i) subnets_[i].index = static_cast<int>(i);
}

std::vector<bool> Graph::tailNodes() const {
  const std::vector<int> resolution = resolutions(nodes_);
  std::vector<bool> tail(nodes_.size(), false);
  for (size_t i = 0; i < nodes_.size(); ++i) tail[i] = resolution[i] > 1;
  // A convolution that only feeds PixelShuffle belongs to the tail: its many channels are what a crop saves.
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].op != Op::Conv || resolution[i] != 1) continue;
    bool feeds = false, only = true;
    for (size_t j = i + 1; j < nodes_.size(); ++j)
      for (int input : nodes_[j].inputs)
        if (input == static_cast<int>(i))
          (nodes_[j].op == Op::PixelShuffle ? feeds : only) = nodes_[j].op == Op::PixelShuffle;
    tail[i] = feeds && only;
  }
  return tail;
}

}  // namespace wbsr

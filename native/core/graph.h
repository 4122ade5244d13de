// The network as data: a flat list of nodes in topological order, written by a TypeScript function
// (lib/networks) and lowered here for one subnet at a time. No device, no Node, no files.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/operator.h"

namespace wbsr {

struct Parameter {
  std::string name;
  std::vector<int> shape;  // at the largest width
  int64_t offset = 0;      // in floats, into the flat arena that holds all parameters
  int64_t count = 0;
  int node = -1;        // the node that owns it
  bool random = false;  // initially normal with standard deviation `initial`; else all `initial`
  float initial = 0.f;
};

struct SubnetInfo {
  int index = 0;  // position when sorted by cost
  int width = 0, depth = 0;
  int64_t flops = 0;  // 2 * MAC of the convolution weights on a 32 x 32 LR patch
  int64_t parameters = 0;
  int receptiveField = 0;  // radius in LR pixels around an output pixel
  int tailField = 0;       // radius in LR pixels of the upsampling tail alone (Graph::tailNodes)
  int64_t tailFlops = 0;   // the tail's share of flops
};

// What depends on the width alone: the nodes' channels, and the parts of the parameters that its subnets use.
struct WidthInfo {
  std::vector<Channels> channels;                            // of every node
  std::vector<std::vector<std::vector<Ranges>>> parameters;  // of every node: per parameter, per dimension
};

// Checked on construction: topological order, channel agreement at every width, unique names.
class Graph {
 public:
  Graph(int scale, std::vector<int> widths, std::vector<int> depths, std::vector<Node> nodes, int output);

  int scale() const { return scale_; }
  const std::vector<int>& widths() const { return widths_; }
  const std::vector<int>& depths() const { return depths_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  int output() const { return output_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t parameterCount() const { return parameterCount_; }
  const std::vector<SubnetInfo>& subnets() const { return subnets_; }
  // Sides of an LR image that the network accepts: multiples of sizeMultiple() from minimumSize() on, which is one.
  int minimumSize() const { return minimumSize_; }
  int sizeMultiple() const { return sizeMultiple_; }
  // The first of a node's parameters in parameters(), which follow one another, and how many there are.
  int firstParameter(int node) const { return firstParameter_[static_cast<size_t>(node)]; }
  int parametersOf(int node) const {
    return static_cast<int>(byWidth_.back().parameters[static_cast<size_t>(node)].size());
  }

  // The nodes used at this depth, with stacks resolved: value[i] is the node that computes the value of node i.
  std::vector<int> resolve(int depth, std::vector<bool>& alive) const;
  // What the subnets of this width use.
  const WidthInfo& at(int width) const;
  // Channels of every node at this width.
  std::vector<int> channels(int width) const;
  const std::vector<Resolution>& resolutions() const { return resolutions_; }
  // The upsampling tail: nodes larger than LR, and LR-sized convolutions that only feed a PixelShuffle. Inference
  // crops the tail's inputs, so that the tail does not run on the halo of a tile.
  const std::vector<bool>& tailNodes() const { return tail_; }

 private:
  void check() const;
  void findResolutions();
  void findTail();
  void addParameters();
  void findSizes();
  bool takesSide(int side) const;
  SubnetInfo describe(int width, int depth) const;
  WidthInfo widthInfo(int width) const;

  int scale_;
  std::vector<int> widths_, depths_;
  std::vector<Node> nodes_;
  int output_;
  std::vector<WidthInfo> byWidth_;  // as widths_
  std::vector<Resolution> resolutions_;
  std::vector<bool> tail_;
  std::vector<Parameter> parameters_;
  int64_t parameterCount_ = 0;
  std::vector<int> firstParameter_;
  int minimumSize_ = 1, sizeMultiple_ = 1;
  std::vector<SubnetInfo> subnets_;
};

}  // namespace wbsr

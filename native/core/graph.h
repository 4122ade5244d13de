// The network as data: a flat list of nodes in topological order, written by a TypeScript function
// (lib/networks) and lowered here for one subnet at a time. No device, no Node, no files.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace wbsr {

enum class Op {
  Input,          // the LR image, RGB in [0,1]
  Conv,           // k x k, stride 1, zero padding k/2
  Activation,     // relu, leaky relu, sigmoid
  Add,            // elementwise sum of two values
  PixelShuffle,   // factor r: C r^2 -> C channels, r x size
  Upsample,       // bilinear or bicubic by a whole factor, half-pixel centres, edges clamped
  Stack,          // inputs: x, output of block 1, ... output of block D; depth d selects input d
  GlobalPool,     // mean over height and width -> 1 x 1
  ScaleChannels,  // x times a 1 x 1 value per channel
};

enum class ActivationKind { None, Relu, LeakyRelu, Sigmoid };

// How many channels a convolution keeps in a subnet of width w: a fixed count (RGB ends), or floor(num * w / den).
struct ChannelRule {
  bool scaled = false;
  int fixed = 0;
  int num = 1, den = 1;
  int64_t at(int width) const { return scaled ? static_cast<int64_t>(num) * width / den : fixed; }
};

struct Node {
  Op op = Op::Input;
  std::string name;         // Conv: parameter prefix, "<name>.weight" (O, I, k, k) and "<name>.bias" (O)
  std::vector<int> inputs;  // node indices, all smaller than the node's own
  ChannelRule channels;     // Conv: output channels. Input: the image's channels (fixed).
  int kernel = 3;           // Conv: odd
  bool bias = true;         // Conv
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;     // LeakyRelu
  int factor = 1;        // PixelShuffle, Upsample
  bool cubic = false;    // Upsample: bicubic instead of bilinear
  float initGain = 1.f;  // Conv: multiplies the Kaiming normal initialisation
};

struct Parameter {
  std::string name;
  std::vector<int> shape;  // weight (O, I, k, k), bias (O), at the largest width
  int64_t offset = 0;      // in floats, into the flat arena that holds all parameters
  int64_t count = 0;
  int node = -1;  // the convolution that owns it
  bool isBias = false;
  float initStd = 0.f;  // Kaiming normal: gain * sqrt(2 / fan_in); 0 for biases
};

struct SubnetInfo {
  int index = 0;  // position when sorted by cost
  int width = 0, depth = 0;
  int64_t flops = 0;  // 2 * MAC of the convolution weights on a 32 x 32 LR patch
  int64_t parameters = 0;
  int receptiveField = 0;  // radius in LR pixels: how far an output pixel looks
  int tailField = 0;       // radius in LR pixels of the upsampling tail alone (Graph::tailNodes)
  int64_t tailFlops = 0;   // the tail's share of flops
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
  int weightOf(int node) const { return weightOf_[node]; }  // index into parameters(), -1 when the node has none
  int biasOf(int node) const { return biasOf_[node]; }

  // The nodes alive at this depth, with stacks resolved: value[i] is the node whose value node i stands for.
  std::vector<int> resolve(int depth, std::vector<bool>& alive) const;
  // Channels of every node at this width.
  std::vector<int> channels(int width) const;
  // The upsampling tail: nodes larger than LR, and LR-sized convolutions that only feed a PixelShuffle. Inference
  // crops what enters the tail, so that the halo of a tile does not pay for it.
  std::vector<bool> tailNodes() const;

 private:
  int scale_;
  std::vector<int> widths_, depths_;
  std::vector<Node> nodes_;
  int output_;
  std::vector<Parameter> parameters_;
  int64_t parameterCount_ = 0;
  std::vector<SubnetInfo> subnets_;
  std::vector<int> weightOf_, biasOf_;
};

}  // namespace wbsr

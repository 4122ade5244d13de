// Descriptors, for the parts of the fake cuDNN.
#pragma once
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda/conv/cudnn_api.h"
#include "fake_cudnn.h"

namespace wbsr::host_cuda::fake {

using namespace wbsr::cuda::cudnn;

struct Node;
using NodePointer = std::shared_ptr<const Node>;

// An attribute as it was set.
struct Value {
  int type = 0;
  int64_t count = 0;
  std::vector<unsigned char> bytes;
  std::vector<NodePointer> nodes;  // of CUDNN_TYPE_BACKEND_DESCRIPTOR
};

struct Node {
  int type = 0;
  bool finalized = false;
  std::map<int, Value> values;
  int engine = -1;           // of an engine, a configuration, a plan
  NodePointer graph;         // the same
  std::vector<int> offered;  // of heuristics: engines
  int64_t workspace = 0;     // of a plan
  mutable int turn = 0;      // of a plan: written by every execution, so that ThreadSanitizer sees two at once

  bool has(int name) const { return values.count(name) != 0; }
  template <typename T>
  std::vector<T> all(int name) const {
    std::vector<T> out;
    const auto found = values.find(name);
    if (found == values.end()) return out;
    out.resize(static_cast<size_t>(found->second.count));
    std::memcpy(out.data(), found->second.bytes.data(), out.size() * sizeof(T));
    return out;
  }
  template <typename T>
  T one(int name, T otherwise = T{}) const {
    const auto found = values.find(name);
    if (found == values.end() || found->second.count < 1) return otherwise;
    T value;
    std::memcpy(&value, found->second.bytes.data(), sizeof value);
    return value;
  }
  const Node* node(int name) const {
    const auto found = values.find(name);
    return found == values.end() || found->second.nodes.empty() ? nullptr : found->second.nodes[0].get();
  }
};

struct Refusal {  // or none: success
  Status status = CUDNN_STATUS_SUCCESS;
  std::string message;
};

// fake_cudnn_graph.cc: descriptors, read.
struct Tensor {
  int64_t id = 0, alignment = 0;
  int type = 0;
  bool isVirtual = false;
  std::vector<int64_t> dimensions, strides;
  int64_t elements() const;
  int64_t elementBytes() const { return type == CUDNN_DATA_BFLOAT16 ? 2 : 4; }
};
Tensor readTensor(const Node& node);

// What an operation takes in, in a fixed order, and what it writes.
struct Operation {
  enum Kind { Forward, BackwardData, BackwardWeights, Add, Relu, Sigmoid, ReluBackward } kind = Forward;
  std::vector<Tensor> inputs;  // x, w / dy, w / x, dy / x, b / x / x / dy, x
  Tensor output;
  // Of relu and its derivative. dropsNan: what is not a number becomes the lower clip.
  float slope = 0.f, lowerClip = 0.f;
  double upperClip = std::numeric_limits<double>::max();
  bool dropsNan = true;
  int64_t padding[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1};
};
Operation readOperation(const Node& node);
std::vector<Operation> readGraph(const Node& graph);

// fake_cudnn_rules.cc: may this attribute be set so; is the descriptor complete and sound; which engines take a graph.
Refusal checkAttribute(int descriptor, int name, int type, int64_t count);
Refusal checkFinal(const Node& node);
std::vector<int> enginesFor(const Node& graph, int mode);
std::vector<int> numericalNotes(int engine);
std::vector<int> behaviourNotes(int engine);
Refusal finalizeEngine(int engine, int64_t& workspace);
constexpr int kRoundsToTf32 = 9;      // works, with its inputs rounded; has the notes that say so
constexpr int kNotDeterministic = 3;  // works, adds noise

// fake_cudnn_run.cc: runs a graph on the host, tensors by id.
void runGraph(const std::vector<Operation>& operations, const std::map<int64_t, void*>& pointers, int engine);

}  // namespace wbsr::host_cuda::fake

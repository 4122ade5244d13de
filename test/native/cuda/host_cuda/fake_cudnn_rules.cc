// What the fake cuDNN accepts: attributes, descriptors, graphs.
#include <algorithm>
#include <set>

#include "fake_cudnn_node.h"

namespace wbsr::host_cuda::fake {
namespace {

struct Rule {
  int name, type;
  int64_t least, most;  // elements
  bool required;
};

const std::map<int, std::vector<Rule>>& rules() {
  constexpr int descriptor = CUDNN_TYPE_BACKEND_DESCRIPTOR;
  static const std::map<int, std::vector<Rule>> all = {
      {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
       {{CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, 1, true},
        {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
        {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, 1, true},
        {CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 1, 8, true},
        {CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 1, 8, true},
        {CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, 1, false}}},
      {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
       {{CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
        {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, 1, true},
        {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, 1, true},
        {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 1, 8, true},
        {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 1, 8, true},
        {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 1, 8, true},
        {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 1, 8, true}}},
      {CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
       {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, 1, true},
        {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, 1, true},
        {CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, 1, 1, false},
        {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
        {CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, 1, false},
        {CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, 1, false}}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_TYPE_FLOAT, 1, 1, true},
        {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, CUDNN_TYPE_FLOAT, 1, 1, true}}},
      {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, descriptor, 1, 1, true},
        {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, descriptor, 1, 1, false},
        {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, descriptor, 1, 1, false},
        {CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, descriptor, 1, 1, false},
        {CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, descriptor, 1, 1, false}}},
      {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
       {{CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
        {CUDNN_ATTR_OPERATIONGRAPH_OPS, descriptor, 1, 64, true}}},
      {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
       {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, descriptor, 1, 1, true},
        {CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, 1, true}}},
      {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
       {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, 1, true},
        {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, descriptor, 1, 1, false},
        {CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 1, 1 << 20, false}}},
      {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
       {{CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 1, 64, true},
        {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 1, 64, true},
        {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, 1, true}}},
      {CUDNN_BACKEND_ENGINE_DESCRIPTOR, {}},
      {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, {}},
  };
  return all;
}

Refusal bad(const std::string& message) { return {CUDNN_STATUS_BAD_PARAM, message}; }

Refusal checkTensor(const Node& node) {
  const Tensor t = readTensor(node);
  if (t.dimensions.size() != t.strides.size()) return bad("dimensions and strides differ in number");
  for (const int64_t value : t.dimensions)
    if (value < 1) return bad("a dimension is not positive");
  for (const int64_t value : t.strides)
    if (value < 1) return bad("a stride is not positive");
  if (t.type != CUDNN_DATA_FLOAT && t.type != CUDNN_DATA_BFLOAT16) return {CUDNN_STATUS_NOT_SUPPORTED, "data type"};
  if (t.alignment < 1 || t.alignment % t.elementBytes() != 0)
    return bad("the alignment is no multiple of the data type's size");
  return {};
}

Refusal checkConvolution(const Node& node) {
  const int64_t dims = node.one<int64_t>(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
  for (const int name : {CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
                         CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS})
    if (node.values.at(name).count != dims) return bad("as many values as spatial dimensions are needed");
  if (node.one<int>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION)
    return {CUDNN_STATUS_NOT_SUPPORTED, "not a cross-correlation"};
  return {};
}

Refusal checkConvolutionOperation(const Node& node) {
  const Operation op = readOperation(node);
  const bool forward = op.kind == Operation::Forward, toData = op.kind == Operation::BackwardData;
  const Tensor& x = toData ? op.output : op.inputs[0];
  const Tensor& w = forward || toData ? op.inputs[1] : op.output;
  const Tensor& y = forward ? op.output : toData ? op.inputs[0] : op.inputs[1];
  if (x.dimensions.size() != 4 || w.dimensions.size() != 4 || y.dimensions.size() != 4)
    return bad("four dimensions are needed");
  bool fits =
      x.dimensions[0] == y.dimensions[0] && x.dimensions[1] == w.dimensions[1] && y.dimensions[1] == w.dimensions[0];
  for (size_t i = 0; i < 2; ++i) {
    const int64_t reach = (w.dimensions[2 + i] - 1) * op.dilation[i] + 1;
    fits = fits && y.dimensions[2 + i] == (x.dimensions[2 + i] + 2 * op.padding[i] - reach) / op.stride[i] + 1;
  }
  if (!fits) return {CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "x, w and y are no convolution"};
  return {};
}

Refusal checkPointwise(const Node& node) {
  const int mode = node.node(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR)->one<int>(CUDNN_ATTR_POINTWISE_MODE);
  const bool binary = mode == CUDNN_POINTWISE_ADD, backward = mode == CUDNN_POINTWISE_RELU_BWD;
  if (!binary && !backward && mode != CUDNN_POINTWISE_RELU_FWD && mode != CUDNN_POINTWISE_SIGMOID_FWD)
    return {CUDNN_STATUS_NOT_SUPPORTED, "pointwise mode"};
  if (node.has(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) != binary) return bad("BDESC");
  if (node.has(CUDNN_ATTR_OPERATION_POINTWISE_YDESC) == backward) return bad("YDESC");
  if (node.has(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC) != backward ||
      node.has(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC) != backward)
    return bad("DXDESC and DYDESC");
  const Operation op = readOperation(node);
  for (const Tensor& input : op.inputs) {
    if (input.dimensions.size() != op.output.dimensions.size())
      return bad("tensors of different numbers of dimensions");
    for (size_t i = 0; i < input.dimensions.size(); ++i)
      if (input.dimensions[i] != op.output.dimensions[i] && !(binary && input.dimensions[i] == 1))
        return {CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "dimensions do not broadcast"};
  }
  return {};
}

// Each id is one tensor; each virtual one is written by one operation and read by others, in order.
Refusal checkGraph(const Node& node) {
  std::map<int64_t, Tensor> tensors;
  std::set<int64_t> written, read;
  for (const Operation& op : readGraph(node)) {
    std::vector<Tensor> all = op.inputs;
    all.push_back(op.output);
    for (const Tensor& t : all) {
      const auto [at, fresh] = tensors.emplace(t.id, t);
      if (!fresh &&
          (at->second.dimensions != t.dimensions || at->second.strides != t.strides || at->second.type != t.type))
        return bad("one unique id for two tensors");
    }
    for (const Tensor& t : op.inputs) {
      if (t.isVirtual && !written.count(t.id)) return bad("a virtual tensor is read before it is written");
      read.insert(t.id);
    }
    if (!written.insert(op.output.id).second) return bad("a tensor is written twice");
  }
  for (const auto& [id, tensor] : tensors)
    if (tensor.isVirtual && !read.count(id)) return bad("a virtual tensor is not read");
  return {};
}

Refusal checkPack(const Node& node) {
  const auto ids = node.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  if (static_cast<int64_t>(ids.size()) != node.values.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS).count)
    return bad("ids and pointers differ in number");
  if (std::set<int64_t>(ids.begin(), ids.end()).size() != ids.size()) return bad("an id twice");
  return {};
}

bool channelsLast(const Tensor& t) {
  const auto& d = t.dimensions;
  return d.size() == 4 && t.strides == std::vector<int64_t>{d[1] * d[2] * d[3], 1, d[1] * d[3], d[1]};
}

// The same with rows that are a whole number of times as far apart.
bool rowsApart(const Tensor& t) {
  const auto &d = t.dimensions, &s = t.strides;
  return d.size() == 4 && s[3] == d[1] && s[1] == 1 && s[2] % (d[1] * d[3]) == 0 && s[0] == s[2] * d[2];
}

// What no engine takes; empty: some do.
std::string unsupported(const std::vector<Operation>& operations) {
  if (!fakeCudnn().engines) return "nothing is supported";
  const Operation& first = operations[0];
  if (first.kind > Operation::BackwardWeights) return "a graph without a convolution";
  if (operations.size() > 1 && !fakeCudnn().fusion) return "fusion";
  for (size_t i = 1; i < operations.size(); ++i) {
    if (operations[i].kind <= Operation::BackwardWeights) return "two convolutions";
    if (operations[i].inputs[0].id != operations[i - 1].output.id || !operations[i].inputs[0].isVirtual)
      return "not a chain";
  }
  if (operations.size() > 1 && first.kind == Operation::BackwardWeights) return "weights' gradients with an end";
  const int type = first.inputs[0].type;
  if (first.inputs[1].type != type) return "operands of two types";
  for (const Operation& op : operations) {
    std::vector<Tensor> all = op.inputs;
    all.push_back(op.output);
    for (const Tensor& t : all) {
      const bool result = first.kind == Operation::Forward && t.id == operations.back().output.id;
      if (!channelsLast(t) && !(result && fakeCudnn().rowStrides && rowsApart(t))) return "layout";
      if (t.isVirtual && t.type != CUDNN_DATA_FLOAT) return "virtual tensors that are not float";
      if (!t.isVirtual && t.alignment < 16) return "alignment";
      if (type == CUDNN_DATA_BFLOAT16 && t.dimensions[1] % 8 != 0) return "channels";
    }
  }
  const Tensor& result = operations.back().output;
  if (type == CUDNN_DATA_FLOAT && result.type != CUDNN_DATA_FLOAT) return "bf16 results of float operands";
  if (type == CUDNN_DATA_BFLOAT16 && result.type == CUDNN_DATA_FLOAT && first.kind != Operation::Forward &&
      !fakeCudnn().floatResults)
    return "float results of bf16 operands";
  if (first.kind == Operation::BackwardWeights && result.type == CUDNN_DATA_BFLOAT16 && !fakeCudnn().halfGradients)
    return "dw in bf16";
  return "";
}

}  // namespace

Refusal checkAttribute(int descriptor, int name, int type, int64_t count) {
  for (const Rule& rule : rules().at(descriptor)) {
    if (rule.name != name) continue;
    if (rule.type != type)
      return {CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, "attribute " + std::to_string(name) + " is of another type"};
    if (count < rule.least || count > rule.most)
      return bad("attribute " + std::to_string(name) + " has another number of elements");
    return {};
  }
  return bad("descriptor " + std::to_string(descriptor) + " has no attribute " + std::to_string(name) +
             " that can be set");
}

Refusal checkFinal(const Node& node) {
  for (const Rule& rule : rules().at(node.type))
    if (rule.required && !node.has(rule.name)) return bad("attribute " + std::to_string(rule.name) + " is missing");
  switch (node.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return checkTensor(node);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return checkConvolution(node);
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: return checkPointwise(node);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR: return checkConvolutionOperation(node);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return checkGraph(node);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return checkPack(node);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
      if (node.has(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG) == node.has(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION))
        return bad("a plan is made of an engine configuration or of JSON");
  }
  return {};
}

// Mode A: one that does not finalize, one that must not be used, one that needs too much memory, then usable ones.
std::vector<int> enginesFor(const Node& graph, int mode) {
  const std::vector<Operation> operations = readGraph(graph);
  if (!unsupported(operations).empty()) return {};
  if (mode == CUDNN_HEUR_MODE_FALLBACK) return {7, 0};
  if (mode != CUDNN_HEUR_MODE_A || !fakeCudnn().bestMode) return {};
  std::vector<int> engines = {7, kNotDeterministic, 5};
  if (operations[0].inputs[0].type == CUDNN_DATA_FLOAT) engines.push_back(kRoundsToTf32);
  const bool fused = operations.size() > 1;
  engines.insert(engines.end(), {fused ? 4 : 1, 2});
  return engines;
}

std::vector<int> numericalNotes(int engine) {
  if (engine == kNotDeterministic) return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
  if (engine == kRoundsToTf32) return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
  return {};
}

std::vector<int> behaviourNotes(int engine) {
  if (engine == 4) return {CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION};
  return {};
}

Refusal finalizeEngine(int engine, int64_t& workspace) {
  if (engine == 7) return {CUDNN_STATUS_NOT_SUPPORTED, "this engine never works"};
  workspace = engine == 5 ? int64_t{2} << 30 : engine == 1 ? 1000 : engine == 4 ? 131 : 0;
  return {};
}

}  // namespace wbsr::host_cuda::fake

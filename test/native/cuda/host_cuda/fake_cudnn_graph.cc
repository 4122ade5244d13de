// Reads operation graphs out of descriptors of the fake cuDNN.
#include "fake_cudnn_node.h"

namespace wbsr::host_cuda::fake {

int64_t Tensor::elements() const {
  int64_t count = 1;
  for (const int64_t d : dimensions) count *= d;
  return count;
}

Tensor readTensor(const Node& node) {
  Tensor t;
  t.id = node.one<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID);
  t.alignment = node.one<int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
  t.type = node.one<int>(CUDNN_ATTR_TENSOR_DATA_TYPE);
  t.isVirtual = node.one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
  t.dimensions = node.all<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS);
  t.strides = node.all<int64_t>(CUDNN_ATTR_TENSOR_STRIDES);
  return t;
}

Operation readOperation(const Node& node) {
  Operation op;
  const auto tensor = [&](int name) { return readTensor(*node.node(name)); };
  const Node* convolution = nullptr;
  if (node.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR) {
    op.kind = Operation::Forward;
    op.inputs = {tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X),
                 tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W)};
    op.output = tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
    convolution = node.node(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC);
  } else if (node.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR) {
    op.kind = Operation::BackwardData;
    op.inputs = {tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY),
                 tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W)};
    op.output = tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX);
    convolution = node.node(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC);
  } else if (node.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR) {
    op.kind = Operation::BackwardWeights;
    op.inputs = {tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X),
                 tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY)};
    op.output = tensor(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW);
    convolution = node.node(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC);
  } else {
    const Node& mode = *node.node(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    const int kind = mode.one<int>(CUDNN_ATTR_POINTWISE_MODE);
    op.slope = static_cast<float>(mode.one<double>(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 0.));
    op.lowerClip = static_cast<float>(mode.one<double>(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.));
    op.upperClip = mode.one<double>(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, std::numeric_limits<double>::max());
    op.dropsNan = mode.one<int>(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, 0) != CUDNN_PROPAGATE_NAN;
    op.kind = kind == CUDNN_POINTWISE_ADD         ? Operation::Add
            : kind == CUDNN_POINTWISE_RELU_FWD    ? Operation::Relu
            : kind == CUDNN_POINTWISE_SIGMOID_FWD ? Operation::Sigmoid
                                                  : Operation::ReluBackward;
    if (op.kind == Operation::ReluBackward) op.inputs = {tensor(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC)};
    op.inputs.push_back(tensor(CUDNN_ATTR_OPERATION_POINTWISE_XDESC));
    if (op.kind == Operation::Add) op.inputs.push_back(tensor(CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
    op.output = tensor(op.kind == Operation::ReluBackward ? CUDNN_ATTR_OPERATION_POINTWISE_DXDESC
                                                          : CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
  }
  if (convolution)
    for (size_t i = 0; i < 2; ++i) {
      op.padding[i] = convolution->all<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS).at(i);
      op.stride[i] = convolution->all<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES).at(i);
      op.dilation[i] = convolution->all<int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS).at(i);
    }
  return op;
}

std::vector<Operation> readGraph(const Node& graph) {
  std::vector<Operation> operations;
  for (const NodePointer& node : graph.values.at(CUDNN_ATTR_OPERATIONGRAPH_OPS).nodes)
    operations.push_back(readOperation(*node));
  return operations;
}

}  // namespace wbsr::host_cuda::fake

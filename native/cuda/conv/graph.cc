#include "cuda/conv/graph.h"

#include <limits>

namespace wbsr::cuda {
namespace {

using cudnn::Descriptor;

int dataType(Type type) { return type == Type::Bf16 ? cudnn::CUDNN_DATA_BFLOAT16 : cudnn::CUDNN_DATA_FLOAT; }

class Builder {
 public:
  Builder(const ConvSpec& spec, bool rows)
      : spec_(spec), rows_(rows), outChannels_(rows ? spec.outChannels / spec.factor : spec.outChannels) {}

  // Adds `descriptor`, finalized, to the graph's parts and returns its index.
  size_t keep(Descriptor&& descriptor) {
    descriptor.finalize();
    result_.parts.push_back(std::move(descriptor));
    return result_.parts.size() - 1;
  }
  const Descriptor& at(size_t part) const { return result_.parts[part]; }

  // (a, b, c, d) in memory order a, c, d, b: channels last. between: rows are that many times as far apart.
  size_t tensor(int64_t id, Type type, int64_t a, int64_t b, int64_t c, int64_t d, bool isVirtual = false,
                int64_t between = 1) {
    Descriptor t(cudnn::CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    t.setInteger(cudnn::CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
    t.setEnum(cudnn::CUDNN_ATTR_TENSOR_DATA_TYPE, cudnn::CUDNN_TYPE_DATA_TYPE, dataType(type));
    t.setInteger(cudnn::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 16);
    t.setIntegers(cudnn::CUDNN_ATTR_TENSOR_DIMENSIONS, {a, b, c, d});
    t.setIntegers(cudnn::CUDNN_ATTR_TENSOR_STRIDES, {b * c * d * between, 1, b * d * between, b});
    if (isVirtual)
      t.setTrue(cudnn::CUDNN_ATTR_TENSOR_IS_VIRTUAL);
    else
      result_.tensors.push_back(id);
    return keep(std::move(t));
  }
  size_t input(int64_t id, Type type) {
    return tensor(id, type, spec_.batch, spec_.inChannels, spec_.height, spec_.width);
  }
  size_t output(int64_t id, Type type) {
    return tensor(id, type, spec_.batch, outChannels_, spec_.outHeight(), spec_.outWidth(), false,
                  rows_ ? spec_.factor : 1);
  }
  size_t bias() { return tensor(kTensorBias, Type::Float, 1, outChannels_, 1, 1); }
  size_t virtualOutput() {
    return tensor(nextVirtual_++, Type::Float, spec_.batch, outChannels_, spec_.outHeight(), spec_.outWidth(), true);
  }
  size_t virtualInput() {
    return tensor(nextVirtual_++, Type::Float, spec_.batch, spec_.inChannels, spec_.height, spec_.width, true);
  }
  size_t weights(Type type) {
    return tensor(kTensorW, type, outChannels_, spec_.inChannels, spec_.kernel, spec_.kernel);
  }

  size_t convolution() {
    const int64_t padding = spec_.pad(), stride = spec_.stride;
    Descriptor c(cudnn::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    c.setEnum(cudnn::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, cudnn::CUDNN_TYPE_DATA_TYPE, cudnn::CUDNN_DATA_FLOAT);
    c.setEnum(cudnn::CUDNN_ATTR_CONVOLUTION_CONV_MODE, cudnn::CUDNN_TYPE_CONVOLUTION_MODE,
              cudnn::CUDNN_CROSS_CORRELATION);
    c.setInteger(cudnn::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2);
    c.setIntegers(cudnn::CUDNN_ATTR_CONVOLUTION_DILATIONS, {1, 1});
    c.setIntegers(cudnn::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, {stride, stride});
    c.setIntegers(cudnn::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, {padding, padding});
    c.setIntegers(cudnn::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, {padding, padding});
    return keep(std::move(c));
  }

  void addForward(size_t x, size_t w, size_t y) {
    const size_t conv = convolution();
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, at(conv));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, at(x));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, at(w));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, at(y));
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.f);
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.f);
    operations_.push_back(keep(std::move(op)));
  }

  void addBackwardData(size_t dy, size_t w, size_t dx) {
    const size_t conv = convolution();
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, at(conv));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, at(dy));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, at(w));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, at(dx));
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.f);
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.f);
    operations_.push_back(keep(std::move(op)));
  }

  void addBackwardWeights(size_t x, size_t dy, size_t dw) {
    const size_t conv = convolution();
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, at(conv));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, at(x));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, at(dy));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, at(dw));
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 1.f);
    op.setFloat(cudnn::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 0.f);
    operations_.push_back(keep(std::move(op)));
  }

  Descriptor pointwiseOf(int mode) {
    Descriptor p(cudnn::CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    p.setEnum(cudnn::CUDNN_ATTR_POINTWISE_MODE, cudnn::CUDNN_TYPE_POINTWISE_MODE, mode);
    p.setEnum(cudnn::CUDNN_ATTR_POINTWISE_MATH_PREC, cudnn::CUDNN_TYPE_DATA_TYPE, cudnn::CUDNN_DATA_FLOAT);
    return p;
  }
  size_t pointwise(int mode) { return keep(pointwiseOf(mode)); }
  // (Leaky) relu and its derivative, with all attributes that cuDNN's own front end sets: by default NaN may become 0,
  // and training would not detect that a network has diverged.
  size_t relu(int mode) {
    Descriptor p = pointwiseOf(mode);
    p.setEnum(cudnn::CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, cudnn::CUDNN_TYPE_NAN_PROPOGATION,
              cudnn::CUDNN_PROPAGATE_NAN);
    p.setDouble(cudnn::CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 0.);
    p.setDouble(cudnn::CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, std::numeric_limits<double>::max());
    p.setDouble(cudnn::CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, static_cast<double>(slope()));
    return keep(std::move(p));
  }

  // y = activation(x)
  void addActivation(size_t x, size_t y) {
    const bool sigmoid = spec_.activation == ActivationKind::Sigmoid;
    const size_t p = sigmoid ? pointwise(cudnn::CUDNN_POINTWISE_SIGMOID_FWD) : relu(cudnn::CUDNN_POINTWISE_RELU_FWD);
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, at(p));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
    operations_.push_back(keep(std::move(op)));
  }

  // dx = dy activation'(x); of (leaky) relu, whose sign its result shares.
  void addActivationBackward(size_t dy, size_t x, size_t dx) {
    const size_t p = relu(cudnn::CUDNN_POINTWISE_RELU_BWD);
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, at(p));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, at(dy));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, at(dx));
    operations_.push_back(keep(std::move(op)));
  }

  // y = x + b
  void addSum(size_t x, size_t b, size_t y) {
    const size_t p = pointwise(cudnn::CUDNN_POINTWISE_ADD);
    Descriptor op(cudnn::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, at(p));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(x));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(b));
    op.setDescriptor(cudnn::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(y));
    operations_.push_back(keep(std::move(op)));
  }

  ConvGraph finish(cudnn::Handle handle) {
    std::vector<cudnn::RawDescriptor> operations;
    for (const size_t part : operations_) operations.push_back(at(part).raw());
    Descriptor g(cudnn::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (handle) g.setHandle(cudnn::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, handle);
    const auto count = static_cast<int64_t>(operations.size());
    g.set(cudnn::CUDNN_ATTR_OPERATIONGRAPH_OPS, cudnn::CUDNN_TYPE_BACKEND_DESCRIPTOR, count, operations.data());
    g.finalize();
    result_.graph = std::move(g);
    return std::move(result_);
  }

 private:
  float slope() const { return spec_.activation == ActivationKind::LeakyRelu ? spec_.slope : 0.f; }

  const ConvSpec& spec_;
  const bool rows_;
  const int64_t outChannels_;
  ConvGraph result_;
  std::vector<size_t> operations_;
  int64_t nextVirtual_ = 100;
};

// Whether there is anything to fuse with the convolution.
bool hasEnd(const ConvSpec& spec) {
  if (spec.mode == ConvSpec::Forward) return spec.bias || spec.residual || spec.activation != ActivationKind::None;
  return spec.mode == ConvSpec::BackwardData && (spec.residual || spec.gate);
}

// Our gradient of a sigmoid uses its result y as y (1 - y); cuDNN's uses the argument. Other activations than these are
// left to our epilogue.
bool canFuse(const ConvSpec& spec) {
  if (spec.slopes || spec.product) return false;
  switch (spec.activation) {
    case ActivationKind::None:
    case ActivationKind::Relu:
    case ActivationKind::LeakyRelu: return true;
    case ActivationKind::Sigmoid: return spec.mode == ConvSpec::Forward;
    default: return false;
  }
}

void addForward(Builder& b, const ConvSpec& spec, const ConvVariant& variant) {
  const Type operand = operandType(spec.precision);
  const size_t x = b.input(kTensorX, operand), w = b.weights(operand);
  int steps = variant.fused ? int{spec.bias} + int{spec.activation != ActivationKind::None} + int{spec.residual} : 0;
  // Each operation writes a virtual tensor, the last one y.
  const auto next = [&] { return steps-- > 0 ? b.virtualOutput() : b.output(kTensorY, variant.written); };
  size_t last = next();
  b.addForward(x, w, last);
  if (!variant.fused) return;
  if (spec.bias) {
    const size_t bias = b.bias(), out = next();
    b.addSum(last, bias, out);
    last = out;
  }
  if (spec.activation != ActivationKind::None) {
    const size_t out = next();
    b.addActivation(last, out);
    last = out;
  }
  if (spec.residual) {
    const size_t residual = b.output(kTensorResidual, spec.y), out = next();
    b.addSum(last, residual, out);
  }
}

void addBackwardData(Builder& b, const ConvSpec& spec, const ConvVariant& variant) {
  const Type operand = operandType(spec.precision);
  const size_t dy = b.output(kTensorY, operand), w = b.weights(operand);
  if (!variant.fused) {
    b.addBackwardData(dy, w, b.input(kTensorX, variant.written));
    return;
  }
  size_t last = b.virtualInput();
  b.addBackwardData(dy, w, last);
  if (spec.residual) {
    const size_t residual = b.input(kTensorResidual, spec.x);
    const size_t out = spec.gate ? b.virtualInput() : b.input(kTensorX, variant.written);
    b.addSum(last, residual, out);
    last = out;
  }
  if (spec.gate) {
    const size_t gate = b.input(kTensorGate, spec.x), dx = b.input(kTensorX, variant.written);
    b.addActivationBackward(last, gate, dx);
  }
}

void addBackwardWeights(Builder& b, const ConvSpec& spec, const ConvVariant& variant) {
  const Type operand = operandType(spec.precision);
  const size_t x = b.input(kTensorX, operand), dy = b.output(kTensorY, operand), dw = b.weights(variant.written);
  b.addBackwardWeights(x, dy, dw);
}

}  // namespace

std::string ConvVariant::text() const {
  return std::string(fused ? "fused" : "plain") + (rows ? ", by rows" : "") +
         (written == Type::Bf16 ? ", bf16" : ", float");
}

std::vector<ConvVariant> variantsOf(const ConvSpec& spec) {
  const Type operand = operandType(spec.precision), result = resultType(spec);
  std::vector<ConvVariant> variants;
  if (spec.factor > 1 && (!hasEnd(spec) || canFuse(spec))) variants.push_back({hasEnd(spec), result, true});
  if (hasEnd(spec) && canFuse(spec)) variants.push_back({true, result});
  variants.push_back({false, result});
  if (operand != result)
    variants.insert(spec.mode == ConvSpec::BackwardWeights ? variants.begin() : variants.end(), {false, operand});
  return variants;
}

ConvGraph buildConvGraph(const ConvSpec& spec, const ConvVariant& variant, cudnn::Handle handle) {
  Builder b(spec, variant.rows);
  if (spec.mode == ConvSpec::Forward)
    addForward(b, spec, variant);
  else if (spec.mode == ConvSpec::BackwardData)
    addBackwardData(b, spec, variant);
  else
    addBackwardWeights(b, spec, variant);
  return b.finish(handle);
}

}  // namespace wbsr::cuda

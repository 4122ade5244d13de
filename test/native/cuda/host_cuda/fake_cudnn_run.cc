// Runs operation graphs of the fake cuDNN: tensors are gathered by their strides into dense (N, H, W, C) floats, and
// scattered back, rounded, where they are not virtual. Whole networks of tests go through here, so the inner loops run
// over contiguous channels, which the compiler turns into vectors.
#include <cuda_bf16.h>

#include <cmath>
#include <cstdint>

#include "fake_cudnn_node.h"

namespace wbsr::host_cuda::fake {
namespace {

using Dense = std::vector<float>;

float roundToTf32(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits = (bits + 0x0FFFu + ((bits >> 13) & 1u)) & ~0x1FFFu;
  std::memcpy(&value, &bits, sizeof bits);
  return value;
}

// f(place in memory, place in the dense (d0, d2, d3, d1) array)
template <typename F>
void eachElement(const Tensor& t, F&& f) {
  const auto& d = t.dimensions;
  size_t dense = 0;
  for (int64_t a = 0; a < d[0]; ++a)
    for (int64_t c = 0; c < d[2]; ++c)
      for (int64_t e = 0; e < d[3]; ++e)
        for (int64_t b = 0; b < d[1]; ++b)
          f(static_cast<size_t>(a * t.strides[0] + b * t.strides[1] + c * t.strides[2] + e * t.strides[3]), dense++);
}

Dense gather(const Tensor& t, const void* data) {
  Dense out(static_cast<size_t>(t.elements()));
  if (t.type == CUDNN_DATA_BFLOAT16) {
    const auto* from = static_cast<const __nv_bfloat16*>(data);
    eachElement(t, [&](size_t at, size_t dense) { out[dense] = __bfloat162float(from[at]); });
  } else {
    const auto* from = static_cast<const float*>(data);
    eachElement(t, [&](size_t at, size_t dense) { out[dense] = from[at]; });
  }
  return out;
}

void scatter(const Tensor& t, const Dense& values, void* data) {
  if (t.type == CUDNN_DATA_BFLOAT16) {
    auto* to = static_cast<__nv_bfloat16*>(data);
    eachElement(t, [&](size_t at, size_t dense) { to[at] = __float2bfloat16(values[dense]); });
  } else {
    auto* to = static_cast<float*>(data);
    eachElement(t, [&](size_t at, size_t dense) { to[at] = values[dense]; });
  }
}

// out[i] += scale * in[i]
__attribute__((optimize("O3"), noinline)) void accumulate(float* __restrict out, const float* __restrict in,
                                                          float scale, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += scale * in[i];
}

struct Shape {
  int64_t batch, height, width, in, out, kernelHeight, kernelWidth, outHeight, outWidth;
};

Shape shapeOf(const Operation& op) {
  const bool forward = op.kind == Operation::Forward, toData = op.kind == Operation::BackwardData;
  const auto& x = (toData ? op.output : op.inputs[0]).dimensions;
  const auto& w = (forward || toData ? op.inputs[1] : op.output).dimensions;
  const auto& y = (forward ? op.output : toData ? op.inputs[0] : op.inputs[1]).dimensions;
  return {x[0], x[2], x[3], x[1], y[1], w[2], w[3], y[2], y[3]};
}

// f(pixel of x, pixel of y, tap) for all that touch.
template <typename F>
void eachTouch(const Operation& op, const Shape& s, F&& f) {
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t i = 0; i < s.outHeight; ++i)
      for (int64_t j = 0; j < s.outWidth; ++j)
        for (int64_t r = 0; r < s.kernelHeight; ++r) {
          const int64_t y = i * op.stride[0] + r * op.dilation[0] - op.padding[0];
          if (y < 0 || y >= s.height) continue;
          for (int64_t q = 0; q < s.kernelWidth; ++q) {
            const int64_t x = j * op.stride[1] + q * op.dilation[1] - op.padding[1];
            if (x < 0 || x >= s.width) continue;
            f((n * s.height + y) * s.width + x, (n * s.outHeight + i) * s.outWidth + j, r * s.kernelWidth + q);
          }
        }
}

Dense convolve(const Operation& op, const std::vector<Dense>& inputs) {
  const Shape s = shapeOf(op);
  const int64_t taps = s.kernelHeight * s.kernelWidth;
  Dense out(static_cast<size_t>(op.output.elements()), 0.f);
  if (op.kind == Operation::Forward) {
    const Dense &x = inputs[0], &w = inputs[1];
    Dense turned(w.size());  // (taps, in, out)
    for (int64_t k = 0; k < s.out; ++k)
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < s.in; ++c) turned[(t * s.in + c) * s.out + k] = w[(k * taps + t) * s.in + c];
    eachTouch(op, s, [&](int64_t at, int64_t to, int64_t tap) {
      for (int64_t c = 0; c < s.in; ++c)
        accumulate(&out[to * s.out], &turned[(tap * s.in + c) * s.out], x[at * s.in + c], s.out);
    });
  } else if (op.kind == Operation::BackwardData) {
    const Dense &dy = inputs[0], &w = inputs[1];
    eachTouch(op, s, [&](int64_t at, int64_t to, int64_t tap) {
      for (int64_t k = 0; k < s.out; ++k)
        accumulate(&out[at * s.in], &w[(k * taps + tap) * s.in], dy[to * s.out + k], s.in);
    });
  } else {
    const Dense &x = inputs[0], &dy = inputs[1];
    eachTouch(op, s, [&](int64_t at, int64_t to, int64_t tap) {
      for (int64_t k = 0; k < s.out; ++k)
        accumulate(&out[(k * taps + tap) * s.in], &x[at * s.in], dy[to * s.out + k], s.in);
    });
  }
  return out;
}

// Where element i of a dense tensor of `full` dimensions lies in one that broadcasts to it.
size_t broadcast(const std::vector<int64_t>& full, const std::vector<int64_t>& small, size_t i) {
  const auto rest = static_cast<int64_t>(i);
  const int64_t b = rest % full[1], pixel = rest / full[1];
  const int64_t e = pixel % full[3], c = pixel / full[3] % full[2], a = pixel / full[3] / full[2];
  const auto at = [&](int64_t index, size_t dimension) { return small[dimension] == 1 ? 0 : index; };
  return static_cast<size_t>(((at(a, 0) * small[2] + at(c, 2)) * small[3] + at(e, 3)) * small[1] + at(b, 1));
}

float relu(const Operation& op, float x) {
  if (std::isnan(x)) return op.dropsNan ? op.lowerClip : x;
  if (x > op.upperClip) return static_cast<float>(op.upperClip);
  return x > op.lowerClip ? x : op.lowerClip + op.slope * (x - op.lowerClip);
}

Dense pointwise(const Operation& op, const std::vector<Dense>& inputs) {
  Dense out(static_cast<size_t>(op.output.elements()));
  const auto& full = op.output.dimensions;
  for (size_t i = 0; i < out.size(); ++i) {
    const float a = inputs[0][op.kind == Operation::Add ? broadcast(full, op.inputs[0].dimensions, i) : i];
    switch (op.kind) {
      case Operation::Add: out[i] = a + inputs[1][broadcast(full, op.inputs[1].dimensions, i)]; break;
      case Operation::Relu: out[i] = relu(op, a); break;
      case Operation::Sigmoid: out[i] = 1.f / (1.f + std::exp(-a)); break;
      default: out[i] = op.dropsNan && std::isnan(a) ? 0.f : inputs[1][i] > op.lowerClip ? a : op.slope * a;
    }
  }
  return out;
}

}  // namespace

void runGraph(const std::vector<Operation>& operations, const std::map<int64_t, void*>& pointers, int engine) {
  std::map<int64_t, Dense> virtuals;
  for (const Operation& op : operations) {
    std::vector<Dense> inputs;
    for (const Tensor& t : op.inputs) inputs.push_back(t.isVirtual ? virtuals.at(t.id) : gather(t, pointers.at(t.id)));
    const bool convolution = op.kind <= Operation::BackwardWeights;
    if (convolution && engine == kRoundsToTf32)
      for (Dense& input : inputs)
        for (float& value : input) value = roundToTf32(value);
    Dense out = convolution ? convolve(op, inputs) : pointwise(op, inputs);
    if (convolution && engine == kNotDeterministic)
      for (size_t i = 0; i < out.size(); ++i) out[i] += i % 2 ? 1.f : -1.f;
    if (op.output.isVirtual)
      virtuals[op.output.id] = std::move(out);
    else
      scatter(op.output, out, pointers.at(op.output.id));
  }
}

}  // namespace wbsr::host_cuda::fake

// What the kernels of convolutions have in common: which implementation serves, and its weights.
#pragma once
#include <memory>

#include "core/operators/conv.h"
#include "cpu/conv_primitives.h"
#include "cpu/executable.h"
#include "cpu/plain_conv.h"
#include "cpu/pointwise.h"
#include "cpu/simd/int8.h"
#include "cpu/winograd.h"

namespace wbsr::cpu {

// Between blocked values, without groups, and of the same size.
inline bool ownKernelServes(const Layout& from, const Layout& to, const operators::Conv& op, int kernel) {
  return from.kind == Layout::Blocked && to.kind == Layout::Blocked && op.kernel() == kernel && op.keepsSize() &&
         op.groups() == 1 && !op.depthwise();
}

// What the three kinds of steps have in common; `from` and `to` are input and output of the forward convolution.
class ConvKernel : public Kernel {
 protected:
  ConvKernel(const StepView& view, const Value& from, const Value& to)
      : view_(view),
        c_(view.context()),
        weight_(view.step().parameters[operators::Conv::kWeight]),
        from_(layoutOf(from, c_.lanes)),
        to_(layoutOf(to, c_.lanes)),
        op_(view.op<operators::Conv>()),
        batch_(view.batch()),
        kernel_(op_.kernel()),
        in_(from.channels),
        out_(to.channels),
        groups_(to.groups) {
    const auto& parameters = view.step().parameters;
    if (parameters.size() > operators::Conv::kBias) bias_ = parameters[operators::Conv::kBias].parameter;
  }
  // What our own kernels for few outputs take.
  bool atThinEnd() const { return from_.kind == Layout::Blocked && op_.keepsSize() && !op_.depthwise(); }
  // Between blocked values, or from a thin one.
  bool primitiveServes() const {
    return to_.kind == Layout::Blocked &&
           (from_.kind == Layout::Blocked || (from_.kind == Layout::Thin && !op_.depthwise()));
  }
  // Our own kernels where they serve, else null.
  const simd::Winograd* winograd() const {
    return ownKernelServes(from_, to_, op_, 3) ? simd::winograd(c_.lanes) : nullptr;
  }
  const simd::Pointwise* pointwise() const {
    return ownKernelServes(from_, to_, op_, 1) ? simd::pointwise(c_.lanes) : nullptr;
  }
  // Null but in the inference of a device of that precision.
  const simd::Int8* int8() const {
    return c_.precision == Precision::Int8 && view_.program().inference() && winograd() ? simd::int8(c_.lanes)
                                                                                        : nullptr;
  }
  PrimitiveShape primitiveShape() const {
    return {batch_,
            in_,
            to_.planes * c_.lanes,
            from_.h,
            from_.w,
            to_.h,
            to_.w,
            kernel_,
            op_.stride(),
            op_.padding(),
            op_.depthwise(),
            c_.lanes,
            from_.kind == Layout::Thin};
  }
  Packed& weights(Packing packing, bool flipped, int groups, const dnnl::memory::desc& desc = {}) {
    packed_ = packed_ ? &c_.weights->current(*packed_, c_.stream)
                      : &c_.weights->get({weight_, bias_, packing, flipped, op_.groups(), groups}, desc, c_.stream);
    return *packed_;
  }
  PlainConv plain() const {
    return {batch_, in_, out_, kernel_, op_.stride(), op_.padding(), op_.depthwise(), from_, to_};
  }

  void runPrimitive(ForwardPrimitive& p, Packed& w, const float* in, float* out) {
    p.primitive.execute(c_.stream, {{DNNL_ARG_SRC, dnnl::memory(p.source, c_.engine, const_cast<float*>(in))},
                                    {DNNL_ARG_WEIGHTS, w.memory},
                                    {DNNL_ARG_BIAS, dnnl::memory(p.bias, c_.engine, w.bias.data())},
                                    {DNNL_ARG_DST, dnnl::memory(p.destination, c_.engine, out)},
                                    {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
    c_.stream.wait();
  }

  StepView view_;
  Context& c_;
  ParameterSlice weight_;
  int bias_ = -1;
  Layout from_, to_;
  const operators::Conv& op_;
  int batch_, kernel_;
  int in_, out_;  // logical channels
  int groups_;    // > 1: filters ordered sub-pixel first
  Packed* packed_ = nullptr;
};

// Of steps Conv::kBackwardWeights.
std::unique_ptr<Kernel> makeConvWeightGradient(const StepView& view);

}  // namespace wbsr::cpu

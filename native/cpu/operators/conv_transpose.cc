// A transposed convolution is the data gradient of the convolution with the same weight from the output to the input, and
// its data gradient is that convolution.
#include "core/operators/conv_transpose.h"

#include <vector>

#include "cpu/conv_primitives.h"
#include "cpu/executable.h"
#include "cpu/plain_conv.h"
#include "cpu/planes.h"

namespace wbsr::cpu {
namespace {

using dnnl::memory;
using operators::ConvTranspose;

// `large` is the convolution's input, `small` its output. oneDNN where both are blocked, else plain loops.
class Transposed : public Kernel {
 protected:
  Transposed(const StepView& view, const Value& small, const Value& large)
      : view_(view),
        c_(view.context()),
        weight_(view.step().parameters[ConvTranspose::kWeight]),
        small_(layoutOf(small, c_.lanes)),
        large_(layoutOf(large, c_.lanes)),
        smallChannels_(small.channels),
        largeChannels_(large.channels) {
    const auto& op = view.op<ConvTranspose>();
    shape_ = {view.batch(), largeChannels_, smallChannels_, large_.h, large_.w, small_.h, small_.w,
              op.kernel(),  op.stride(),    op.padding(),   false,    c_.lanes, false};
    plain_ = {view.batch(), largeChannels_, smallChannels_, op.kernel(), op.stride(),
              op.padding(), false,          large_,         small_};
    blocked_ = small_.kind == Layout::Blocked && large_.kind == Layout::Blocked;
  }
  Packed& weights(const memory::desc& desc) {
    const Packing packing = blocked_ ? Packing::OneDnn : Packing::Plain;
    packed_ = packed_ ? &c_.weights->current(*packed_, c_.stream)
                      : &c_.weights->get({weight_, -1, packing, false, 1, 1}, desc, c_.stream);
    return *packed_;
  }
  memory at(const memory::desc& desc, const float* data) const {
    return memory(desc, c_.engine, const_cast<float*>(data));
  }
  bool hasBias() const { return view_.step().parameters.size() > ConvTranspose::kBias; }

  StepView view_;
  Context& c_;
  ParameterSlice weight_;
  Layout small_, large_;
  int smallChannels_, largeChannels_;
  PrimitiveShape shape_;
  PlainConv plain_;
  bool blocked_;
  Packed* packed_ = nullptr;
};

class Forward final : public Transposed {
 public:
  explicit Forward(const StepView& view) : Transposed(view, view.inValue(0), view.outValue()) {
    if (blocked_) primitive_ = makeBackwardData(c_.engine, shape_);
  }
  void run() override {
    float* out = view_.out();
    if (blocked_) {
      BackwardDataPrimitive& p = primitive_;
      Packed& w = weights(p.weights);
      p.primitive.execute(c_.stream, {{DNNL_ARG_DIFF_DST, at(p.gradOut, view_.in(0))},
                                      {DNNL_ARG_WEIGHTS, w.memory},
                                      {DNNL_ARG_DIFF_SRC, at(p.gradIn, out)},
                                      {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
      c_.stream.wait();
    } else {
      plainConvBackwardData(plain_, view_.in(0), weights({}).values.data(), out);
      clearPadding(large_, view_.outValue(), view_.batch(), out);
    }
    if (!hasBias()) return;
    const std::vector<float> bias = view_.parameter(ConvTranspose::kBias, large_.planes * large_.lanes);
    eachRow(large_, largeChannels_, view_.batch(), [&](const Plane& p, int y) {
      float* row = out + p.offset + int64_t{y} * large_.w * large_.lanes;
      for (int x = 0; x < large_.w; ++x)
        for (int k = 0; k < large_.lanes; ++k)
          row[int64_t{x} * large_.lanes + k] += bias[static_cast<size_t>(p.channel + k)];
    });
  }

 private:
  BackwardDataPrimitive primitive_;
};

class BackwardData final : public Transposed {
 public:
  explicit BackwardData(const StepView& view) : Transposed(view, view.outValue(), view.inValue(0)) {
    if (blocked_) primitive_ = makeForward(c_.engine, shape_, ActivationKind::None, 0.f, false);
  }
  void run() override {
    if (!blocked_) {
      plainConv(plain_, view_.in(0), weights({}).values.data(), nullptr, nullptr, view_.out());
      clearPadding(small_, view_.outValue(), view_.batch(), view_.out());
      return;
    }
    ForwardPrimitive& p = primitive_;
    Packed& w = weights(p.weights);
    p.primitive.execute(c_.stream, {{DNNL_ARG_SRC, at(p.source, view_.in(0))},
                                    {DNNL_ARG_WEIGHTS, w.memory},
                                    {DNNL_ARG_BIAS, at(p.bias, w.bias.data())},
                                    {DNNL_ARG_DST, at(p.destination, view_.out())},
                                    {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
    c_.stream.wait();
  }

 private:
  ForwardPrimitive primitive_;
};

class BackwardWeights final : public Transposed {
 public:
  explicit BackwardWeights(const StepView& view) : Transposed(view, view.inValue(0), view.inValue(1)) {
    if (blocked_) primitive_ = makeBackwardWeights(c_.engine, shape_);
  }
  void run() override {
    const float *in = view_.in(0), *gradOut = view_.in(1);
    const int k = shape_.kernel, area = k * k;
    int rows = smallChannels_, columns = largeChannels_;
    std::vector<float> dense;
    if (blocked_) {
      BackwardWeightsPrimitive& p = primitive_;
      rows = static_cast<int>(p.gradWeights.dims()[0]);
      columns = static_cast<int>(p.gradWeights.dims()[1]);
      dense.resize(static_cast<size_t>(rows) * columns * area);
      std::vector<float> unused(static_cast<size_t>(rows));
      memory gradWeights(p.gradWeights, c_.engine);
      p.primitive.execute(c_.stream, {{DNNL_ARG_SRC, at(p.source, gradOut)},
                                      {DNNL_ARG_DIFF_DST, at(p.gradOut, in)},
                                      {DNNL_ARG_DIFF_WEIGHTS, gradWeights},
                                      {DNNL_ARG_DIFF_BIAS, at(p.gradBias, unused.data())},
                                      {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
      memory plain(memory::desc({rows, columns, k, k}, memory::data_type::f32, memory::format_tag::oihw), c_.engine,
                   dense.data());
      dnnl::reorder(gradWeights, plain).execute(c_.stream, gradWeights, plain);
      c_.stream.wait();
    } else {
      dense.resize(static_cast<size_t>(rows) * columns * area);
      plainConvBackwardWeights(plain_, gradOut, in, dense.data(), nullptr);
    }
    const Parameter& parameter = c_.weights->parameter(weight_);
    const std::vector<int> inputs = indicesOf(weight_.ranges[0]), outputs = indicesOf(weight_.ranges[1]);
    for (size_t i = 0; i < inputs.size(); ++i)
      for (size_t o = 0; o < outputs.size(); ++o) {
        float* to = c_.gradients + parameter.offset + (int64_t{inputs[i]} * parameter.shape[1] + outputs[o]) * area;
        const float* from = dense.data() + (static_cast<int64_t>(i) * columns + static_cast<int64_t>(o)) * area;
        for (int t = 0; t < area; ++t) to[t] += from[t];
      }
    if (!hasBias()) return;
    view_.addGradient(ConvTranspose::kBias,
                      channelSums(large_, largeChannels_, view_.batch(), [&](const Plane& p, double* sums) {
                        const float* plane = gradOut + p.offset;
                        for (int64_t i = 0; i < int64_t{large_.h} * large_.w; ++i)
                          for (int l = 0; l < large_.lanes; ++l) sums[l] += plane[i * large_.lanes + l];
                      }));
  }

 private:
  BackwardWeightsPrimitive primitive_;
};

template <class Made>
std::unique_ptr<Kernel> make(const StepView& view) {
  return std::make_unique<Made>(view);
}

}  // namespace

void register_conv_transpose(Registry& registry) {
  registry.add(ConvTranspose::kKind, make<Forward>);
  registry.add(ConvTranspose::kBackwardData, make<BackwardData>);
  registry.add(ConvTranspose::kBackwardWeights, make<BackwardWeights>);
}

}  // namespace wbsr::cpu

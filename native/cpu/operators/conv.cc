// Convolutions, forward and the gradient of their input: our own kernels for 3 x 3 (Winograd; in inference 8 bits where
// asked for) and 1 x 1 between blocked values, oneDNN for others there and for thin inputs, our own kernels at the thin
// end, plain loops for pooled and thin-to-thin values. Groups are dense convolutions whose other weights are zero.
#include "cpu/operators/conv.h"

#include <optional>
#include <vector>

#include "core/operators/conv.h"
#include "core/shuffled_conv.h"
#include "cpu/conv_kernel.h"
#include "cpu/elementwise.h"
#include "cpu/int8.h"

namespace wbsr::cpu {
namespace {

using dnnl::memory;
using operators::Conv;

// Whether our own kernels apply it while they store; other activations are a pass over what they stored.
bool finishes(ActivationKind activation) {
  return activation == ActivationKind::None || activation == ActivationKind::Relu ||
         activation == ActivationKind::LeakyRelu || activation == ActivationKind::Silu;
}

int supports(const Program& program, const Step& step) {
  if (step.activation == ActivationKind::Reciprocal) return 0;
  const bool both = step.residual >= 0 && step.activation != ActivationKind::None;
  const bool slopes = step.slopes.parameter >= 0, parts = step.in.size() > 1;
  if (!both && !slopes && !parts && !step.gate) return 1;
  // What only our own kernels do.
  const int lanes = lanesOfBlocks();
  const auto layout = [&](int value) { return layoutOf(program.values[static_cast<size_t>(value)], lanes); };
  const Conv& op = step.as<Conv>();
  for (size_t k = 0; k < step.in.size(); ++k) {
    const Value& part = program.values[static_cast<size_t>(step.in[k])];
    const Layout from = layout(step.in[k]);
    const bool winograd = !parts && ownKernelServes(from, layout(step.out), op, 3) && simd::winograd(lanes);
    const bool pointwise = ownKernelServes(from, layout(step.out), op, 1) && simd::pointwise(lanes);
    // Only the last part may end in padding.
    if (!(winograd || pointwise) || (k + 1 < step.in.size() && part.channels % lanes != 0)) return 0;
  }
  return step.gate ? step.activation == ActivationKind::Sigmoid : finishes(step.activation);
}

class Forward final : public ConvKernel {
 public:
  explicit Forward(const StepView& view) : Forward(view, view.outValue(), 1) {}
  // factor > 1: of kConvShuffled, `to` being what the shuffle would read.
  Forward(const StepView& view, const Value& to, int factor)
      : ConvKernel(view, view.inValue(0), to), step_(view.step()), factor_(factor) {
    if (winograd_ || pointwise_) return;
    if (primitiveServes())
      primitive_ =
          makeForward(c_.engine, primitiveShape(), step_.activation, step_.slope, step_.residual >= 0 && step_.inPlace);
  }
  bool activatesApart() const override {
    const bool leaky = step_.activation == ActivationKind::LeakyRelu || step_.activation == ActivationKind::Relu;
    return primitive_ && !primitive_->activated && leaky;
  }
  void leaveActivation() override { deferred_ = true; }
  // Our own kernel for few outputs does it while it loads.
  bool activateInput(ActivationKind activation, float slope) override {
    const bool leaky = activation == ActivationKind::LeakyRelu || activation == ActivationKind::Relu;
    if (!leaky || primitive_ || !atThinEnd() || to_.kind != Layout::Thin) return false;
    inputSlope_ = slope;
    return true;
  }

  void run() override {
    const float *in = view_.in(0), *residual = view_.residual();
    float* out = view_.out();
    const int64_t total = to_.image() * batch_;
    if (int8_) {
      const Packed& w = weights(Packing::Int8, false, groups_);
      const std::vector<ChannelRanges>& known = view_.executable().rangesOf(step_.in[0]);
      std::vector<ChannelRanges> stored =
          runInt8(*int8_, {from_, to_, batch_, in, w.int8, finish(w), out, known.empty() ? nullptr : &known}, scales_,
                  c_.scratch);
      if (step_.gate || finishes(step_.activation)) view_.executable().rangesOf(step_.out) = std::move(stored);
      return activateRest(out, total);
    }
    if (winograd_) {
      const Packed& w = weights(Packing::Winograd, false, groups_);
      runWinograd(*winograd_, {from_, to_, batch_, in, w.values.data(), finish(w), out, in_, factor_}, c_.scratch);
      return activateRest(out, total);
    }
    if (pointwise_) {
      const Packed& w = weights(Packing::Pointwise, false, groups_);
      PointwiseImages images{{}, to_, batch_, w.values.data(), finish(w), out, 0};
      for (size_t k = 0; k < step_.in.size(); ++k) {
        images.in.push_back({view_.in(k), view_.inLayout(k)});
        images.channels += view_.inValue(k).channels;
      }
      runPointwise(*pointwise_, images);
      return activateRest(out, total);
    }
    if (primitive_) {
      ForwardPrimitive& p = *primitive_;
      runPrimitive(p, weights(Packing::OneDnn, false, groups_, p.weights), in, out);
      if (residual && !p.summed)
        chunked(total, [&](int64_t from, int64_t n) { c_.kernels->add(out + from, out + from, residual + from, n); });
      if (!p.activated && !deferred_) activate(*c_.kernels, out, step_.activation, step_.slope, total);
      return;
    }
    if (atThinEnd()) {
      Packed& w = weights(Packing::Thin, false, 1);
      const int64_t rows = int64_t{batch_} * to_.h;
#pragma omp parallel for schedule(static)
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t n = row / to_.h;
        const simd::ThinForward thin{in + n * from_.image(),
                                     w.values.data(),
                                     w.bias.data(),
                                     residual ? residual + n * to_.image() : nullptr,
                                     out + n * to_.image(),
                                     from_.planes,
                                     to_.h,
                                     to_.w,
                                     kernel_,
                                     out_,
                                     inputSlope_};
        c_.kernels->thinForwardRow(thin, static_cast<int>(row % to_.h));
      }
    } else {
      Packed& w = weights(Packing::Plain, false, 1);
      plainConv(plain(), in, w.values.data(), w.bias.data(), residual, out);
    }
    activate(*c_.kernels, out, step_.activation, step_.slope, total);
  }

 private:
  // What our own kernels do while they store.
  simd::Finish finish(const Packed& w) {
    using Kind = simd::Finish::Kind;
    simd::Finish finish{Kind::Leaky, w.bias.data(), nullptr, view_.residual(), 0.f};
    if (step_.gate) {
      finish.kind = Kind::Gate;
      finish.gate = *step_.gate;
    } else if (step_.activation == ActivationKind::Silu) {
      finish.kind = Kind::Silu;
    } else if (step_.activation == ActivationKind::Relu || step_.activation == ActivationKind::LeakyRelu) {
      slopes_.assign(w.bias.size(), step_.slope);
      if (step_.slopes.parameter >= 0) {
        const std::vector<float> ofChannels = c_.weights->vector(step_.slopes, out_);
        for (size_t row = 0; row < slopes_.size(); ++row) {
          const int channel = sourceRow(static_cast<int>(row), out_, groups_, c_.lanes);
          if (channel >= 0) slopes_[row] = ofChannels[static_cast<size_t>(channel)];
        }
      }
      finish.slopes = slopes_.data();
    }
    return finish;
  }
  void activateRest(float* out, int64_t total) {
    if (!step_.gate && !finishes(step_.activation)) activate(*c_.kernels, out, step_.activation, step_.slope, total);
  }

  const Step& step_;
  const int factor_;
  const simd::Int8* int8_ = factor_ == 1 ? int8() : nullptr;
  const simd::Winograd* winograd_ = winograd();
  const simd::Pointwise* pointwise_ = pointwise();
  Int8Scales scales_;
  std::vector<float> slopes_;
  std::optional<ForwardPrimitive> primitive_;
  bool deferred_ = false;   // the reader applies this convolution's activation
  float inputSlope_ = 1.f;  // of the leaky relu applied to the input on its way in
};

class BackwardData final : public ConvKernel {
 public:
  explicit BackwardData(const StepView& view) : ConvKernel(view, view.outValue(), view.inValue(0)) {
    if (winograd_) return;
    if (from_.kind == Layout::Blocked && to_.kind == Layout::Blocked)
      primitive_ = makeBackwardData(c_.engine, primitiveShape());
    else if (atThinEnd() && to_.kind == Layout::Thin)
      forward_ = makeForward(
          c_.engine, {batch_, out_, in_, to_.h, to_.w, to_.h, to_.w, kernel_, 1, kernel_ / 2, false, c_.lanes, true},
          ActivationKind::None, 0.f, false);
  }

  void run() override {
    const float* gradOut = view_.in(0);
    float* gradIn = view_.out();
    if (winograd_) {
      // The convolution of the gradient with the rotated kernels, inputs and outputs exchanged.
      const Packed& w = weights(Packing::Winograd, true, groups_);
      const simd::Finish finish{simd::Finish::Kind::Leaky, w.bias.data(), nullptr, nullptr, 0.f};
      const int channels = groups_ > 1 ? to_.planes * c_.lanes : out_;  // groups are padded each
      runWinograd(*winograd_, {to_, from_, batch_, gradOut, w.values.data(), finish, gradIn, channels}, c_.scratch);
    } else if (primitive_) {
      BackwardDataPrimitive& p = *primitive_;
      Packed& w = weights(Packing::OneDnn, false, groups_, p.weights);
      p.primitive.execute(c_.stream, {{DNNL_ARG_DIFF_DST, memory(p.gradOut, c_.engine, const_cast<float*>(gradOut))},
                                      {DNNL_ARG_WEIGHTS, w.memory},
                                      {DNNL_ARG_DIFF_SRC, memory(p.gradIn, c_.engine, gradIn)},
                                      {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
      c_.stream.wait();
    } else if (forward_) {
      runPrimitive(*forward_, weights(Packing::OneDnn, true, 1, forward_->weights), gradOut, gradIn);
    } else if (to_.kind == Layout::Blocked && op_.keepsSize()) {
      Packed& w = weights(Packing::Thin, true, groups_);
      const int64_t rows = int64_t{batch_} * to_.h;
#pragma omp parallel for schedule(static)
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t n = row / to_.h;
        const simd::ThinForward thin{gradOut + n * to_.image(),
                                     w.values.data(),
                                     nullptr,
                                     nullptr,
                                     gradIn + n * from_.image(),
                                     to_.planes,
                                     to_.h,
                                     to_.w,
                                     kernel_,
                                     in_,
                                     1.f};
        c_.kernels->thinForwardRow(thin, static_cast<int>(row % to_.h));
      }
    } else {
      plainConvBackwardData(plain(), gradOut, weights(Packing::Plain, false, 1).values.data(), gradIn);
    }
  }

 private:
  const simd::Winograd* winograd_ = winograd();
  std::optional<BackwardDataPrimitive> primitive_;
  std::optional<ForwardPrimitive> forward_;  // with flipped weights, at a thin output
};

std::unique_ptr<Kernel> makeShuffled(const StepView& view) {
  const Value &in = view.inValue(0), &out = view.outValue();
  const int factor = out.height / in.height;
  Value small = in;
  small.groups = factor * factor;
  small.channels = out.channels * small.groups;
  return std::make_unique<Forward>(view, small, factor);
}

template <class Made>
std::unique_ptr<Kernel> make(const StepView& view) {
  return std::make_unique<Made>(view);
}

}  // namespace

bool writesShuffled(const Program& program, const Step& conv, int lanes) {
  const auto layout = [&](int value) { return layoutOf(program.values[static_cast<size_t>(value)], lanes); };
  return ownKernelServes(layout(conv.in[0]), layout(conv.out), conv.as<Conv>(), 3) && simd::winograd(lanes);
}

void register_conv(Registry& registry) {
  registry.add(Conv::kKind, make<Forward>);
  registry.add(kConvShuffled, makeShuffled);
  registry.add(Conv::kBackwardData, make<BackwardData>);
  registry.add(Conv::kBackwardWeights, makeConvWeightGradient);
  registry.fuses(Conv::kKind, supports);
}

}  // namespace wbsr::cpu

// Gradients of the weights and biases of convolutions: our own Winograd kernel where it serves the forward convolution,
// oneDNN between other blocked values and for thin inputs, our own kernel at the thin end, else plain loops.
#include <cstring>
#include <optional>
#include <vector>

#include "cpu/conv_kernel.h"

namespace wbsr::cpu {
namespace {

using dnnl::memory;

class WeightGradient final : public ConvKernel {
 public:
  explicit WeightGradient(const StepView& view)
      : ConvKernel(view, view.inValue(0), view.inValue(1)),
        outputs_(indicesOf(weight_.ranges[0])),
        inputs_(indicesOf(weight_.ranges[1])) {
    channels_.resize(static_cast<size_t>(groups_) * roundUp(out_ / groups_, c_.lanes));
    for (size_t r = 0; r < channels_.size(); ++r)
      channels_[r] = sourceRow(static_cast<int>(r), out_, groups_, c_.lanes);
    if (!winograd_ && primitiveServes()) primitive_ = makeBackwardWeights(c_.engine, primitiveShape());
  }

  void run() override {
    const float *in = view_.in(0), *gradOut = view_.in(1);
    const int area = kernel_ * kernel_;
    if (winograd_) {
      const int rows = to_.planes * c_.lanes;
      std::vector<float> bias(static_cast<size_t>(rows));
      runWinogradGradient(
          *winograd_, {from_, to_, batch_, in, gradOut, in_},
          [&](int i, const float* filters) {
            for (int r = 0; r < rows; ++r) {
              float* filter = gradientOf(r, i);
              for (int t = 0; filter && t < area; ++t) filter[t] += filters[t * rows + r];
            }
          },
          bias.data(), c_.scratch);
      return addBias(bias.data());
    }
    if (primitive_) {
      BackwardWeightsPrimitive& p = *primitive_;
      const auto dims = p.gradWeights.dims();
      const int rows = static_cast<int>(dims[0]), columns = op_.depthwise() ? 1 : static_cast<int>(dims[1]);
      memory gradWeights(p.gradWeights, c_.engine);
      std::vector<float> bias(static_cast<size_t>(rows)), dense(static_cast<size_t>(rows) * columns * area);
      p.primitive.execute(c_.stream, {{DNNL_ARG_SRC, memory(p.source, c_.engine, const_cast<float*>(in))},
                                      {DNNL_ARG_DIFF_DST, memory(p.gradOut, c_.engine, const_cast<float*>(gradOut))},
                                      {DNNL_ARG_DIFF_WEIGHTS, gradWeights},
                                      {DNNL_ARG_DIFF_BIAS, memory(p.gradBias, c_.engine, bias.data())},
                                      {DNNL_ARG_SCRATCHPAD, c_.scratchpad(p.scratchpad)}});
      using Tag = memory::format_tag;
      const auto type = memory::data_type::f32;
      memory plain(op_.depthwise() ? memory::desc({rows, 1, 1, kernel_, kernel_}, type, Tag::goihw)
                                   : memory::desc({rows, columns, kernel_, kernel_}, type, Tag::oihw),
                   c_.engine, dense.data());
      dnnl::reorder(gradWeights, plain).execute(c_.stream, gradWeights, plain);
      c_.stream.wait();
      add(dense.data(), columns, bias.data());
      return;
    }
    const int columns = op_.depthwise() ? 1 : in_;
    std::vector<float> bias(static_cast<size_t>(out_)), dense(static_cast<size_t>(out_) * columns * area);
    if (atThinEnd() && to_.kind == Layout::Thin)
      thinEnd(in, gradOut, dense.data(), bias.data());
    else
      plainConvBackwardWeights(plain(), in, gradOut, dense.data(), bias.data());
    add(dense.data(), columns, bias.data());
  }

 private:
  // The filter, in the gradient arena, of row r in the output's physical order and of input i of the slice; of grouped
  // convolutions: of r's group. Null where r is padding.
  float* gradientOf(int r, int i) const {
    const int o = channels_[static_cast<size_t>(r)];
    if (o < 0) return nullptr;
    const int fullIn = c_.weights->parameter(weight_).shape[1], area = kernel_ * kernel_;
    const int64_t row = int64_t{outputs_[static_cast<size_t>(o)]} * fullIn;
    return c_.gradients + c_.weights->parameter(weight_).offset + (row + inputs_[static_cast<size_t>(i)]) * area;
  }
  void addBias(const float* bias) {
    if (bias_ < 0) return;
    float* to = c_.gradients + c_.graph.parameters()[static_cast<size_t>(bias_)].offset;
    for (size_t r = 0; r < channels_.size(); ++r)
      if (channels_[r] >= 0) to[outputs_[static_cast<size_t>(channels_[r])]] += bias[r];
  }
  // dense (rows in the output's physical order, denseIn, k, k) and bias (rows) -> the slices of the gradient arena. Rows
  // that are padding are not read.
  void add(const float* dense, int denseIn, const float* bias) {
    const int area = kernel_ * kernel_, perBlock = static_cast<int>(inputs_.size());
    const int rows = static_cast<int>(channels_.size());
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; ++r) {
      const int o = channels_[static_cast<size_t>(r)];
      if (o < 0) continue;
      const float* from = dense + static_cast<int64_t>(r) * denseIn * area;
      from += int64_t{o / (out_ / op_.groups())} * perBlock * area;
      for (int i = 0; i < perBlock; ++i) {
        float* filter = gradientOf(r, i);
        for (int t = 0; t < area; ++t) filter[t] += from[i * area + t];
      }
    }
    addBias(bias);
  }

  // One partial result per image and channel block, then their sum in order: the same for any number of threads.
  void thinEnd(const float* in, const float* gradOut, float* dense, float* bias) {
    const int L = c_.lanes, blocks = from_.planes, pad = kernel_ / 2, area = kernel_ * kernel_;
    const int h = to_.h, w = to_.w;
    const int64_t stride = w + kernel_ - 1, plane = stride * (h + kernel_ - 1);
    std::vector<float> padded(static_cast<size_t>(batch_) * out_ * plane, 0.f);
    const int64_t partial = int64_t{area} * out_ * L;
    std::vector<float> partials(static_cast<size_t>(batch_) * blocks * partial);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < int64_t{batch_} * out_ * h; ++row) {
      const int64_t image = row / h, y = row % h;
      std::memcpy(padded.data() + image * plane + (y + pad) * stride + pad, gradOut + row * w, sizeof(float) * w);
    }
#pragma omp parallel for schedule(static)
    for (int item = 0; item < batch_ * blocks; ++item) {
      const int n = item / blocks, b = item % blocks;
      c_.kernels->thinWeights({in + n * from_.image() + int64_t{b} * h * w * L,
                               padded.data() + int64_t{n} * out_ * plane, partials.data() + item * partial, h, w,
                               kernel_, out_});
    }
    for (int o = 0; o < out_; ++o) {
      for (int i = 0; i < in_; ++i)
        for (int t = 0; t < area; ++t) {
          double sum = 0;
          for (int n = 0; n < batch_; ++n)
            sum += partials[(int64_t{n} * blocks + i / L) * partial + (int64_t{t} * out_ + o) * L + i % L];
          dense[(static_cast<size_t>(o) * in_ + i) * area + t] = static_cast<float>(sum);
        }
      double sum = 0;
      for (int n = 0; n < batch_; ++n)
        for (int64_t p = 0; p < int64_t{h} * w; ++p) sum += gradOut[(int64_t{n} * out_ + o) * h * w + p];
      bias[o] = static_cast<float>(sum);
    }
  }

  const simd::Winograd* winograd_ = winograd();
  std::optional<BackwardWeightsPrimitive> primitive_;
  std::vector<int> outputs_, inputs_;  // where the slice's channels lie in the parameter
  std::vector<int> channels_;          // of the rows in the output's physical order; -1: padding
};

}  // namespace

std::unique_ptr<Kernel> makeConvWeightGradient(const StepView& view) { return std::make_unique<WeightGradient>(view); }

}  // namespace wbsr::cpu

// The convolution steps of an Executable: which primitive or kernel runs a step, forward and both gradients.
#include <cstring>
#include <vector>

#include "cpu/compiled.h"
#include "cpu/elementwise.h"
#include "cpu/operators.h"

namespace wbsr::cpu {

using dnnl::memory;

void Executable::compile(const Step& step, Compiled& compiled) {
  if (step.kind != StepKind::Conv && step.kind != StepKind::ConvBackwardData &&
      step.kind != StepKind::ConvBackwardWeights)
    return;
  const auto& values = program_.values;
  const int fromValue = step.kind == StepKind::ConvBackwardData ? step.out : step.in[0];
  const int toValue = step.kind == StepKind::Conv             ? step.out
                    : step.kind == StepKind::ConvBackwardData ? step.in[0]
                                                              : step.in[1];
  ConvShape& s = compiled.shape;
  s.batch = program_.batch;
  s.from = layoutOf(values[fromValue], context_.lanes);
  s.to = layoutOf(values[toValue], context_.lanes);
  s.h = s.to.h;
  s.w = s.to.w;
  s.kernel = step.kernel;
  s.in = step.inChannels;
  s.out = step.outChannels;
  s.outGroups = step.shuffled ? step.factor * step.factor : 1;
  const int physicalOut = s.to.kind == Layout::Blocked ? s.to.planes * context_.lanes : s.out;
  const bool fromBlocked = s.from.kind == Layout::Blocked, toBlocked = s.to.kind == Layout::Blocked;
  const bool fromThin = s.from.kind == Layout::Thin, toThin = s.to.kind == Layout::Thin;
  const auto& engine = context_.engine;
  const int lanes = context_.lanes;
  switch (step.kind) {
    case StepKind::Conv:
      if (toBlocked && (fromBlocked || fromThin))
        compiled.forward = makeForward(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes, fromThin,
                                       step.activation, step.slope, step.residual >= 0 && step.inPlace);
      break;
    case StepKind::ConvBackwardData:
      if (fromBlocked && toBlocked)
        compiled.backwardData = makeBackwardData(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes);
      else if (fromBlocked && toThin)
        compiled.forward = makeForward(engine, s.batch, s.out, s.in, s.h, s.w, s.kernel, lanes, true,
                                       ActivationKind::None, 0.f, false);
      break;
    default:
      if (toBlocked && (fromBlocked || fromThin))
        compiled.backwardWeights =
            makeBackwardWeights(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes, fromThin);
  }
}

static void runForward(Context& c, ForwardPrimitive& p, Packed& w, const float* in, float* out) {
  p.primitive.execute(c.stream, {{DNNL_ARG_SRC, memory(p.source, c.engine, const_cast<float*>(in))},
                                 {DNNL_ARG_WEIGHTS, w.memory},
                                 {DNNL_ARG_BIAS, memory(p.bias, c.engine, w.bias.data())},
                                 {DNNL_ARG_DST, memory(p.destination, c.engine, out)},
                                 {DNNL_ARG_SCRATCHPAD, c.scratchpad(p.scratchpad)}});
  c.stream.wait();
}

void Executable::conv(const Step& step, Compiled& compiled) {
  const ConvShape& s = compiled.shape;
  Context& c = context_;
  const float* in = at(step.in[0]);
  float* out = at(step.out);
  const float* residual = step.residual >= 0 ? at(step.residual) : nullptr;
  const int64_t total = s.to.image() * s.batch;
  if (compiled.forward) {
    ForwardPrimitive& p = *compiled.forward;
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, false, s.outGroups}, p.weights, c.stream);
    runForward(c, p, w, in, out);
    if (residual && !p.summed)
      chunked(total, [&](int64_t from, int64_t n) { c.kernels->add(out + from, out + from, residual + from, n); });
    if (!p.activated && !compiled.deferred) activate(*c.kernels, out, step.activation, step.slope, total);
    return;
  }
  if (s.from.kind == Layout::Blocked) {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Thin, false, 1}, {}, c.stream);
    const int64_t rows = int64_t{s.batch} * s.h;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t n = row / s.h;
      const simd::ThinForward thin{in + n * s.from.image(),
                                   w.values.data(),
                                   w.bias.data(),
                                   residual ? residual + n * s.to.image() : nullptr,
                                   out + n * s.to.image(),
                                   s.from.planes,
                                   s.h,
                                   s.w,
                                   s.kernel,
                                   s.out,
                                   compiled.inputSlope};
      c.kernels->thinForwardRow(thin, static_cast<int>(row % s.h));
    }
  } else {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Plain, false, 1}, {}, c.stream);
    plainConv({s.batch, s.in, s.out, s.h, s.w, s.kernel}, in, w.values.data(), w.bias.data(), residual, out);
  }
  activate(*c.kernels, out, step.activation, step.slope, total);
}

void Executable::convBackwardData(const Step& step, Compiled& compiled) {
  const ConvShape& s = compiled.shape;
  Context& c = context_;
  const float* gradOut = at(step.in[0]);
  float* gradIn = at(step.out);
  if (compiled.backwardData) {
    BackwardDataPrimitive& p = *compiled.backwardData;
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, false, s.outGroups}, p.weights, c.stream);
    p.primitive.execute(c.stream, {{DNNL_ARG_DIFF_DST, memory(p.gradOut, c.engine, const_cast<float*>(gradOut))},
                                   {DNNL_ARG_WEIGHTS, w.memory},
                                   {DNNL_ARG_DIFF_SRC, memory(p.gradIn, c.engine, gradIn)},
                                   {DNNL_ARG_SCRATCHPAD, c.scratchpad(p.scratchpad)}});
    c.stream.wait();
  } else if (compiled.forward) {
    ForwardPrimitive& p = *compiled.forward;
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, true, 1}, p.weights, c.stream);
    runForward(c, p, w, gradOut, gradIn);
  } else if (s.to.kind == Layout::Blocked) {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Thin, true, s.outGroups}, {}, c.stream);
    const int64_t rows = int64_t{s.batch} * s.h;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t n = row / s.h;
      const simd::ThinForward thin{gradOut + n * s.to.image(),
                                   w.values.data(),
                                   nullptr,
                                   nullptr,
                                   gradIn + n * s.from.image(),
                                   s.to.planes,
                                   s.h,
                                   s.w,
                                   s.kernel,
                                   s.in,
                                   1.f};
      c.kernels->thinForwardRow(thin, static_cast<int>(row % s.h));
    }
  } else {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Plain, false, 1}, {}, c.stream);
    plainConvBackwardData({s.batch, s.in, s.out, s.h, s.w, s.kernel}, gradOut, w.values.data(), gradIn);
  }
}

// dense (rows in the output's physical order, denseIn, k, k) and bias (rows) -> the slice of the gradient arena.
void Executable::addWeightGradient(const Step& step, const float* dense, int denseIn, const float* bias) {
  const Graph& graph = context_.graph;
  const Parameter& weight = graph.parameters()[graph.weightOf(step.node)];
  const int fullIn = weight.shape[1], area = step.kernel * step.kernel;
  const int groups = step.shuffled ? step.factor * step.factor : 1;
  const int perGroup = roundUp(step.outChannels / groups, context_.lanes);
  float* to = context_.gradients + weight.offset;
  float* toBias =
      graph.biasOf(step.node) >= 0 ? context_.gradients + graph.parameters()[graph.biasOf(step.node)].offset : nullptr;
  const int rows = groups > 1 ? groups * perGroup : step.outChannels;
#pragma omp parallel for schedule(static)
  for (int r = 0; r < rows; ++r) {
    const int o = groups > 1 ? sourceRow(r, step.outChannels, groups, context_.lanes) : r;
    if (o < 0) continue;
    const float* from = dense + static_cast<int64_t>(r) * denseIn * area;
    float* row = to + static_cast<int64_t>(o) * fullIn * area;
    for (int i = 0; i < step.inChannels * area; ++i) row[i] += from[i];
    if (toBias) toBias[o] += bias[r];
  }
}

void Executable::convBackwardWeights(const Step& step, Compiled& compiled) {
  const ConvShape& s = compiled.shape;
  Context& c = context_;
  const float* in = at(step.in[0]);
  const float* gradOut = at(step.in[1]);
  const int area = s.kernel * s.kernel;
  if (compiled.backwardWeights) {
    BackwardWeightsPrimitive& p = *compiled.backwardWeights;
    const auto dims = p.gradWeights.dims();
    const int rows = static_cast<int>(dims[0]), columns = static_cast<int>(dims[1]);
    memory gradWeights(p.gradWeights, c.engine);
    std::vector<float> bias(static_cast<size_t>(rows)), dense(static_cast<size_t>(rows) * columns * area);
    p.primitive.execute(c.stream, {{DNNL_ARG_SRC, memory(p.source, c.engine, const_cast<float*>(in))},
                                   {DNNL_ARG_DIFF_DST, memory(p.gradOut, c.engine, const_cast<float*>(gradOut))},
                                   {DNNL_ARG_DIFF_WEIGHTS, gradWeights},
                                   {DNNL_ARG_DIFF_BIAS, memory(p.gradBias, c.engine, bias.data())},
                                   {DNNL_ARG_SCRATCHPAD, c.scratchpad(p.scratchpad)}});
    memory plain(memory::desc({rows, columns, s.kernel, s.kernel}, memory::data_type::f32, memory::format_tag::oihw),
                 c.engine, dense.data());
    dnnl::reorder(gradWeights, plain).execute(c.stream, gradWeights, plain);
    c.stream.wait();
    addWeightGradient(step, dense.data(), columns, bias.data());
    return;
  }
  std::vector<float> bias(static_cast<size_t>(s.out)), dense(static_cast<size_t>(s.out) * s.in * area);
  if (s.from.kind == Layout::Blocked) {
    // One partial result per image and channel block, then their sum in order: the same for any number of threads.
    const int L = c.lanes, blocks = s.from.planes, pad = s.kernel / 2;
    const int64_t stride = s.w + s.kernel - 1, plane = stride * (s.h + s.kernel - 1);
    std::vector<float> padded(static_cast<size_t>(s.batch) * s.out * plane, 0.f);
    const int64_t partial = int64_t{area} * s.out * L;
    std::vector<float> partials(static_cast<size_t>(s.batch) * blocks * partial);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < int64_t{s.batch} * s.out * s.h; ++row) {
      const int64_t image = row / s.h, y = row % s.h;
      std::memcpy(padded.data() + image * plane + (y + pad) * stride + pad, gradOut + row * s.w, sizeof(float) * s.w);
    }
#pragma omp parallel for schedule(static)
    for (int item = 0; item < s.batch * blocks; ++item) {
      const int n = item / blocks, b = item % blocks;
      c.kernels->thinWeights({in + n * s.from.image() + int64_t{b} * s.h * s.w * L,
                              padded.data() + int64_t{n} * s.out * plane, partials.data() + item * partial, s.h, s.w,
                              s.kernel, s.out});
    }
    for (int o = 0; o < s.out; ++o) {
      for (int i = 0; i < s.in; ++i)
        for (int t = 0; t < area; ++t) {
          double sum = 0;
          for (int n = 0; n < s.batch; ++n)
            sum += partials[(int64_t{n} * blocks + i / L) * partial + (int64_t{t} * s.out + o) * L + i % L];
          dense[(static_cast<size_t>(o) * s.in + i) * area + t] = static_cast<float>(sum);
        }
      double sum = 0;
      for (int n = 0; n < s.batch; ++n)
        for (int64_t p = 0; p < int64_t{s.h} * s.w; ++p) sum += gradOut[(int64_t{n} * s.out + o) * s.h * s.w + p];
      bias[o] = static_cast<float>(sum);
    }
  } else {
    plainConvBackwardWeights({s.batch, s.in, s.out, s.h, s.w, s.kernel}, in, gradOut, dense.data(), bias.data());
  }
  addWeightGradient(step, dense.data(), s.in, bias.data());
}

}  // namespace wbsr::cpu

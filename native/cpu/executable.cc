#include "cpu/executable.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>

#include "core/error.h"
#include "cpu/loss.h"
#include "cpu/operators.h"

namespace wbsr::cpu {

using dnnl::memory;

constexpr std::align_val_t kAlign{2 << 20};

float* Buffer::reserve(int64_t floats) {
  if (floats > floats_) {
    release();
    const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
    data_ = static_cast<float*>(::operator new(bytes, kAlign));
    floats_ = floats;
#ifdef MADV_HUGEPAGE
    madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  return data_;
}

void Buffer::release() {
  if (data_) ::operator delete(data_, kAlign);
  data_ = nullptr;
  floats_ = 0;
}

Context::Context(const Graph& g) : graph(g) {
  lanes = preferredLanes(engine);
  kernels = &simd::kernels(lanes);
  weights = std::make_unique<WeightStore>(graph, lanes, engine);
}

struct Executable::Compiled {
  ConvShape shape{};
  std::optional<ForwardPrimitive> forward;  // also the data gradient of a thin-output convolution
  std::optional<BackwardDataPrimitive> backwardData;
  std::optional<BackwardWeightsPrimitive> backwardWeights;
  bool deferred = false;   // the reader applies this convolution's activation
  float inputSlope = 1.f;  // applied to the input on its way in
};

Executable::Executable(Context& context, Program program) : context_(context), program_(std::move(program)) {
  const int lanes = context.lanes;
  plan(program_, [lanes](const Value& value) {
    return layoutOf(value, lanes).image();  // per image; multiplied below
  });
  for (int64_t& offset : program_.offsets)
    if (offset > 0) offset *= program_.batch;
  program_.arenaFloats *= program_.batch;
  compiled_.reserve(program_.steps.size());
  for (const Step& step : program_.steps) {
    compiled_.push_back(std::make_unique<Compiled>());
    compile(step, *compiled_.back());
  }
  if (program_.steps.size() == static_cast<size_t>(program_.forwardSteps)) deferActivations();
}

// Leaky relu in front of the RGB end, which Winograd cannot do itself: its only reader applies it while loading, which
// saves a pass over the largest value of the network. Inference only, since training reads the activated value again.
void Executable::deferActivations() {
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    Compiled& producer = *compiled_[i];
    const bool leaky = step.activation == ActivationKind::LeakyRelu || step.activation == ActivationKind::Relu;
    if (step.kind != StepKind::Conv || !producer.forward || producer.forward->activated || !leaky) continue;
    Compiled* reader = nullptr;
    int reads = step.out == program_.output ? 1 : 0;
    for (size_t j = i + 1; j < program_.steps.size(); ++j) {
      const Step& other = program_.steps[j];
      const bool first = other.in[0] == step.out;
      reads += first + (other.in[1] == step.out) + (other.residual == step.out);
      if (first && other.kind == StepKind::Conv && layoutOf(program_.values[other.out], context_.lanes).kind == Layout::Thin) reader = compiled_[j].get();
    }
    if (reads != 1 || !reader) continue;
    producer.deferred = true;
    reader->inputSlope = step.slope;
  }
}

Executable::~Executable() = default;

float* Executable::at(int value) const {
  if (value == program_.input) return const_cast<float*>(input_);  // never written: external values are not in place
  if (value == program_.output) return output_;
  return arena_ + program_.offsets[value];
}

void Executable::compile(const Step& step, Compiled& compiled) {
  if (step.kind != StepKind::Conv && step.kind != StepKind::ConvBackwardData && step.kind != StepKind::ConvBackwardWeights) return;
  const auto& values = program_.values;
  const int fromValue = step.kind == StepKind::ConvBackwardData ? step.out : step.in[0];
  const int toValue = step.kind == StepKind::Conv ? step.out : step.kind == StepKind::ConvBackwardData ? step.in[0] : step.in[1];
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
        compiled.forward = makeForward(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes, fromThin, step.activation, step.slope,
                                       step.residual >= 0 && step.inPlace);
      break;
    case StepKind::ConvBackwardData:
      if (fromBlocked && toBlocked)
        compiled.backwardData = makeBackwardData(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes);
      else if (fromBlocked && toThin)
        compiled.forward = makeForward(engine, s.batch, s.out, s.in, s.h, s.w, s.kernel, lanes, true, ActivationKind::None, 0.f, false);
      break;
    default:
      if (toBlocked && (fromBlocked || fromThin))
        compiled.backwardWeights = makeBackwardWeights(engine, s.batch, s.in, physicalOut, s.h, s.w, s.kernel, lanes, fromThin);
  }
}

// An elementwise loop over n floats in chunks that fit caches; fn(from, count).
template <class Fn>
static void chunked(int64_t n, Fn fn) {
  constexpr int64_t kChunk = 16384;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; ++c) fn(c * kChunk, std::min(kChunk, n - c * kChunk));
}

static void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n) {
  if (kind == ActivationKind::None) return;
  if (kind == ActivationKind::Sigmoid) return sigmoid(x, n);
  chunked(n, [&](int64_t from, int64_t count) { kernels.leaky(x + from, slope, count); });
}

void Executable::conv(const Step& step, Compiled& compiled, const RunArguments&) {
  const ConvShape& s = compiled.shape;
  Context& c = context_;
  const float* in = at(step.in[0]);
  float* out = at(step.out);
  const float* residual = step.residual >= 0 ? at(step.residual) : nullptr;
  const int64_t total = s.to.image() * s.batch;
  if (compiled.forward) {
    ForwardPrimitive& p = *compiled.forward;
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, false}, s.outGroups, p.weights, c.stream);
    p.primitive.execute(c.stream, {{DNNL_ARG_SRC, memory(p.source, c.engine, const_cast<float*>(in))},
                                   {DNNL_ARG_WEIGHTS, w.memory},
                                   {DNNL_ARG_BIAS, memory(p.bias, c.engine, w.bias.data())},
                                   {DNNL_ARG_DST, memory(p.destination, c.engine, out)},
                                   {DNNL_ARG_SCRATCHPAD, memory(p.scratchpad, c.engine, c.scratch.reserve(static_cast<int64_t>((p.scratchpad.get_size() + 3) / 4)))}});
    c.stream.wait();
    if (residual && !p.summed) chunked(total, [&](int64_t from, int64_t n) { c.kernels->add(out + from, out + from, residual + from, n); });
    if (!p.activated && !compiled.deferred) activate(*c.kernels, out, step.activation, step.slope, total);
    return;
  }
  if (s.from.kind == Layout::Blocked) {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Thin, false}, 1, {}, c.stream);
    const int64_t rows = int64_t{s.batch} * s.h;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t n = row / s.h;
      const simd::ThinForward thin{in + n * s.from.image(), w.values.data(), w.bias.data(), residual ? residual + n * s.to.image() : nullptr,
                                   out + n * s.to.image(), s.from.planes, s.h, s.w, s.kernel, s.out, compiled.inputSlope};
      c.kernels->thinForwardRow(thin, static_cast<int>(row % s.h));
    }
  } else {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Plain, false}, 1, {}, c.stream);
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
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, false}, s.outGroups, p.weights, c.stream);
    p.primitive.execute(c.stream, {{DNNL_ARG_DIFF_DST, memory(p.gradOut, c.engine, const_cast<float*>(gradOut))},
                                   {DNNL_ARG_WEIGHTS, w.memory},
                                   {DNNL_ARG_DIFF_SRC, memory(p.gradIn, c.engine, gradIn)},
                                   {DNNL_ARG_SCRATCHPAD, memory(p.scratchpad, c.engine, c.scratch.reserve(static_cast<int64_t>((p.scratchpad.get_size() + 3) / 4)))}});
    c.stream.wait();
  } else if (compiled.forward) {
    ForwardPrimitive& p = *compiled.forward;
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::OneDnn, true}, 1, p.weights, c.stream);
    p.primitive.execute(c.stream, {{DNNL_ARG_SRC, memory(p.source, c.engine, const_cast<float*>(gradOut))},
                                   {DNNL_ARG_WEIGHTS, w.memory},
                                   {DNNL_ARG_BIAS, memory(p.bias, c.engine, w.bias.data())},
                                   {DNNL_ARG_DST, memory(p.destination, c.engine, gradIn)},
                                   {DNNL_ARG_SCRATCHPAD, memory(p.scratchpad, c.engine, c.scratch.reserve(static_cast<int64_t>((p.scratchpad.get_size() + 3) / 4)))}});
    c.stream.wait();
  } else if (s.to.kind == Layout::Blocked) {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Thin, true}, s.outGroups, {}, c.stream);
    const int64_t rows = int64_t{s.batch} * s.h;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t n = row / s.h;
      const simd::ThinForward thin{gradOut + n * s.to.image(), w.values.data(), nullptr, nullptr, gradIn + n * s.from.image(),
                                   s.to.planes, s.h, s.w, s.kernel, s.in, 1.f};
      c.kernels->thinForwardRow(thin, static_cast<int>(row % s.h));
    }
  } else {
    Packed& w = c.weights->get({step.node, s.in, s.out, Packing::Plain, false}, 1, {}, c.stream);
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
  float* toBias = graph.biasOf(step.node) >= 0 ? context_.gradients + graph.parameters()[graph.biasOf(step.node)].offset : nullptr;
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
                                   {DNNL_ARG_SCRATCHPAD, memory(p.scratchpad, c.engine, c.scratch.reserve(static_cast<int64_t>((p.scratchpad.get_size() + 3) / 4)))}});
    memory plain(memory::desc({rows, columns, s.kernel, s.kernel}, memory::data_type::f32, memory::format_tag::oihw), c.engine, dense.data());
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
      c.kernels->thinWeights({in + n * s.from.image() + int64_t{b} * s.h * s.w * L, padded.data() + int64_t{n} * s.out * plane,
                              partials.data() + item * partial, s.h, s.w, s.kernel, s.out});
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

LossSums Executable::run(const RunArguments& arguments) {
  Context& c = context_;
  input_ = arguments.input;
  output_ = arguments.output;
  arena_ = c.arena.reserve(program_.arenaFloats);
  LossSums loss;
  const int batch = program_.batch;
  for (size_t i = 0; i < program_.steps.size(); ++i) {
    if ((arguments.cancel && *arguments.cancel != 0) || (c.closing && *c.closing)) throw Error("WBSR_ABORTED", "the job was cancelled");
    const Step& step = program_.steps[i];
    auto layout = [&](int value) { return layoutOf(program_.values[value], c.lanes); };
    auto floats = [&](int value) { return layout(value).image() * batch; };
    switch (step.kind) {
      case StepKind::Conv: conv(step, *compiled_[i], arguments); break;
      case StepKind::Activation: {
        float* out = at(step.out);
        if (!step.inPlace) std::memcpy(out, at(step.in[0]), sizeof(float) * static_cast<size_t>(floats(step.out)));
        activate(*c.kernels, out, step.activation, step.slope, floats(step.out));
        break;
      }
      case StepKind::Add: {
        const float *a = at(step.in[0]), *b = at(step.in[1]);
        float* out = at(step.out);
        chunked(floats(step.out), [&](int64_t from, int64_t n) { c.kernels->add(out + from, a + from, b + from, n); });
        break;
      }
      case StepKind::ActivationBackward: {
        const float *dy = at(step.in[0]), *y = at(step.in[1]);
        float* dx = at(step.out);
        if (step.activation == ActivationKind::Sigmoid)
          sigmoidBackward(dx, dy, y, floats(step.out));
        else
          chunked(floats(step.out), [&](int64_t from, int64_t n) { c.kernels->leakyBackward(dx + from, dy + from, y + from, step.slope, n); });
        break;
      }
      case StepKind::PixelShuffle: case StepKind::PixelShuffleBackward: {
        const bool backward = step.kind == StepKind::PixelShuffleBackward;
        const Layout small = layout(backward ? step.out : step.in[0]), large = layout(backward ? step.in[0] : step.out);
        const float* from = at(step.in[0]);
        float* to = at(step.out);
        const float* activated = backward && step.in[1] >= 0 ? at(step.in[1]) : nullptr;
        const bool active = step.activation != ActivationKind::None;
        if (step.shuffled) {
          const int64_t rows = int64_t{batch} * large.blocks * small.h;
#pragma omp parallel for schedule(static)
          for (int64_t row = 0; row < rows; ++row) {
            const int y = static_cast<int>(row % small.h), block = static_cast<int>(row / small.h % large.blocks);
            const int64_t n = row / small.h / large.blocks;
            if (backward)
              c.kernels->unshuffleRow({to + n * small.image(), const_cast<float*>(from) + n * large.image(), large.blocks, small.h, small.w, step.factor},
                                      activated ? activated + n * large.image() : nullptr, block, y, step.slope);
            else
              c.kernels->shuffleRow({const_cast<float*>(from) + n * small.image(), to + n * large.image(), large.blocks, small.h, small.w, step.factor},
                                    block, y, active ? step.slope : 1.f);
          }
        } else {
          const int channels = program_.values[backward ? step.in[0] : step.out].channels;
          if (!backward) {
            shuffleGeneric(small, from, large, to, batch, step.factor, channels);
            activate(*c.kernels, to, step.activation, step.slope, floats(step.out));
          } else if (active) {
            std::vector<float> gradient(static_cast<size_t>(large.image() * batch));
            c.kernels->leakyBackward(gradient.data(), from, activated, step.slope, static_cast<int64_t>(gradient.size()));
            unshuffleGeneric(small, to, large, gradient.data(), batch, step.factor, channels);
          } else {
            unshuffleGeneric(small, to, large, from, batch, step.factor, channels);
          }
        }
        break;
      }
      case StepKind::Upsample: upsample(layout(step.in[0]), at(step.in[0]), at(step.out), batch, step.factor, step.cubic); break;
      case StepKind::UpsampleBackward: upsampleBackward(layout(step.out), at(step.in[0]), at(step.out), batch, step.factor, step.cubic); break;
      case StepKind::Crop: crop(layout(step.in[0]), at(step.in[0]), layout(step.out), at(step.out), batch, step.cropX, step.cropY); break;
      case StepKind::GlobalPool:
        globalPool(layout(step.in[0]), at(step.in[0]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::GlobalPoolBackward:
        globalPoolBackward(layout(step.out), at(step.in[0]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::ScaleChannels: case StepKind::ScaleChannelsBackwardInput:
        scaleChannels(layout(step.in[0]), at(step.in[0]), at(step.in[1]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::ScaleChannelsBackwardFactors:
        scaleChannelsBackwardFactors(layout(step.in[0]), at(step.in[0]), at(step.in[1]), at(step.out), batch, program_.values[step.out].channels);
        break;
      case StepKind::Loss: {
        const Layout l = layout(step.out);
        loss = evaluateLoss(*arguments.loss, output_, arguments.target, batch, int64_t{l.h} * l.w, at(step.out), arguments.lossGradientScale);
        break;
      }
      case StepKind::ConvBackwardData: convBackwardData(step, *compiled_[i]); break;
      case StepKind::ConvBackwardWeights: convBackwardWeights(step, *compiled_[i]); break;
    }
  }
  return loss;
}

}  // namespace wbsr::cpu

// What the checks of convolutions share: plain double loops, and a plan run on values and compared with them. On the host
// cuDNN is the fake of host_cuda/fake_cudnn.h, on a GPU the real one.
#pragma once
#include <algorithm>
#include <memory>

#include "core/error.h"
#include "cuda/conv/conv.h"
#include "cuda/conv/cudnn_api.h"
#include "support/cuda_check.h"
#ifdef WBSR_HOST_CUDA
#include "fake_cudnn.h"
#endif

namespace wbsr::test {

using namespace wbsr::cuda;

struct Shape {
  int batch, height, width, in, out, kernel;
};

inline ConvSpec makeSpec(ConvSpec::Mode mode, const Shape& s, Precision precision = Precision::Bf16) {
  ConvSpec spec;
  spec.mode = mode;
  spec.batch = s.batch, spec.height = s.height, spec.width = s.width;
  spec.inChannels = s.in, spec.outChannels = s.out, spec.kernel = s.kernel;
  spec.precision = precision;
  spec.x = spec.y = precision == Precision::Bf16 ? Type::Bf16 : Type::Float;
  return spec;
}

inline double activate(double value, const ConvSpec& s) {
  if (s.activation == ActivationKind::Sigmoid) return 1 / (1 + std::exp(-value));
  if (s.activation == ActivationKind::Silu) return value / (1 + std::exp(-value));
  if (s.activation == ActivationKind::Gelu) return value * std::erfc(-value / std::sqrt(2.0)) / 2;
  if (s.activation == ActivationKind::Tanh) return std::tanh(value);
  if (s.activation == ActivationKind::None || value > 0) return value;
  return s.activation == ActivationKind::LeakyRelu ? s.slope * value : 0;
}

// The derivative at an argument whose result is `y`.
inline double slopeAt(double y, const ConvSpec& s) {
  if (s.activation == ActivationKind::Sigmoid) return y * (1 - y);
  return y > 0 || s.activation == ActivationKind::None ? 1 : s.activation == ActivationKind::LeakyRelu ? s.slope : 0;
}

struct Arrays {
  std::vector<float> x, w, y, bias, residual, gate, slopes,
      sums;  // as the device holds them; the one that is computed is empty
};

// f(x's pixel, y's pixel, tap)
template <typename F>
void eachTouch(const ConvSpec& s, F&& f) {
  for (int n = 0; n < s.batch; ++n)
    for (int i = 0; i < s.outHeight(); ++i)
      for (int j = 0; j < s.outWidth(); ++j)
        for (int r = 0; r < s.kernel; ++r)
          for (int q = 0; q < s.kernel; ++q) {
            const int y = i * s.stride + r - s.pad(), x = j * s.stride + q - s.pad();
            if (y >= 0 && y < s.height && x >= 0 && x < s.width)
              f((int64_t{n} * s.height + y) * s.width + x, (int64_t{n} * s.outHeight() + i) * s.outWidth() + j,
                r * s.kernel + q);
          }
}

inline std::vector<double> reference(const ConvSpec& s, const Arrays& a) {
  const int64_t taps = int64_t{s.kernel} * s.kernel, in = s.inChannels, out = s.outChannels;
  const bool forward = s.mode == ConvSpec::Forward, toData = s.mode == ConvSpec::BackwardData;
  std::vector<double> result(static_cast<size_t>(forward  ? s.outPixels() * out
                                                 : toData ? s.inPixels() * in
                                                          : out * taps * in),
                             0.0);
  eachTouch(s, [&](int64_t at, int64_t to, int64_t tap) {
    for (int64_t k = 0; k < out; ++k)
      for (int64_t c = 0; c < in; ++c) {
        const int64_t weight = (k * taps + tap) * in + c;
        if (forward)
          result[to * out + k] += double{a.x[at * in + c]} * a.w[weight];
        else if (toData)
          result[at * in + c] += double{a.y[to * out + k]} * a.w[weight];
        else
          result[weight] += double{a.x[at * in + c]} * a.y[to * out + k];
      }
  });
  for (size_t i = 0; i < result.size(); ++i) {
    if (forward) {
      if (s.bias) result[i] += a.bias[i % out];
      const double plain = result[i];
      result[i] = s.slopes ? (plain > 0 ? plain : plain * a.slopes[i % out]) : activate(plain, s);
      if (s.product)
        result[i] = (plain + a.residual[i]) * (result[i] + s.shift);
      else if (s.residual)
        result[i] += a.residual[i];
    } else if (toData) {
      if (s.residual) result[i] += a.residual[i];
      if (s.gate) result[i] *= slopeAt(a.gate[i], s);
    }
  }
  if (s.factor == 1) return result;
  // Sub-pixels become pixels.
  std::vector<double> enlarged(result.size());
  const int64_t square = int64_t{s.factor} * s.factor, channels = out / square;
  for (int64_t i = 0; i < static_cast<int64_t>(result.size()); ++i) {
    const int64_t plane = i % out / channels, x = i / out % s.outWidth(), row = i / out / s.outWidth();
    const int64_t largeRow = row * s.factor + plane / s.factor, largeX = x * s.factor + plane % s.factor;
    enlarged[static_cast<size_t>((largeRow * s.outWidth() * s.factor + largeX) * channels + i % channels)] =
        result[static_cast<size_t>(i)];
  }
  return enlarged;
}

// Relu's results have zeros, and -0 is one of them.
inline std::vector<float> gateValues(const ConvSpec& s, size_t count) {
  std::vector<float> gate = randomVector(count, 7);
  for (size_t i = 0; i < count; ++i) {
    if (s.activation == ActivationKind::Sigmoid)
      gate[i] = 0.5f + 0.5f * gate[i];
    else if (s.activation == ActivationKind::Relu)
      gate[i] = gate[i] > 0 ? gate[i] : i % 3 ? 0.f : -0.f;
  }
  return gate;
}

// Operands of T, the result in R. spoil: a value that is not a number is among the operand's, or the residual's.
enum class Spoil { Nothing, Operand, Residual };
template <typename T, typename R>
std::vector<float> runPlan(const ConvSpec& s, const ConvPlan& plan, Arrays& a, Spoil spoil = Spoil::Nothing) {
  const size_t in = static_cast<size_t>(s.inPixels() * s.inChannels),
               out = static_cast<size_t>(s.outPixels() * s.outChannels);
  const size_t weights = static_cast<size_t>(s.outChannels) * s.kernel * s.kernel * s.inChannels;
  const bool forward = s.mode == ConvSpec::Forward, toData = s.mode == ConvSpec::BackwardData;
  if (!toData) a.x = stored<T>(randomVector(in, 1));
  if (forward || toData) a.w = stored<T>(randomVector(weights, 2, -0.5, 0.5));
  if (!forward) a.y = stored<T>(randomVector(out, 3));
  if (spoil == Spoil::Operand) (forward ? a.x : a.y)[0] = NAN;
  if (s.bias) a.bias = randomVector(static_cast<size_t>(s.outChannels), 4);
  if (s.residual) a.residual = stored<R>(randomVector(forward ? out : in, 5));
  if (spoil == Spoil::Residual) a.residual[0] = NAN;
  if (s.gate) a.gate = stored<R>(gateValues(s, in));
  if (s.slopes) a.slopes = randomVector(static_cast<size_t>(s.outChannels), 6);

  const auto operand = [](const std::vector<float>& values) {
    return values.empty() ? nullptr : std::make_unique<DeviceArray<T>>(to<T>(values), "operand");
  };
  const auto like = [](const std::vector<float>& values) {
    return values.empty() ? nullptr : std::make_unique<DeviceArray<R>>(to<R>(values), "addend");
  };
  const auto x = operand(a.x), w = operand(a.w), y = operand(a.y);
  const auto residual = like(a.residual), gate = like(a.gate);
  std::unique_ptr<DeviceArray<float>> bias, slopes;
  if (s.slopes) slopes = std::make_unique<DeviceArray<float>>(a.slopes, "slopes");
  if (s.bias) bias = std::make_unique<DeviceArray<float>>(a.bias, "bias");
  DeviceArray<R> result(forward ? out : toData ? in : weights, "result");
  DeviceArray<unsigned char> workspace(plan.workspace(), "workspace");
  ConvArguments arguments;
  arguments.x = toData ? static_cast<const void*>(result.data()) : x->data();
  arguments.w = forward || toData ? static_cast<const void*>(w->data()) : result.data();
  arguments.y = forward ? static_cast<const void*>(result.data()) : y->data();
  if (bias) arguments.bias = bias->data();
  if (slopes) arguments.slopes = slopes->data();
  if (residual) arguments.residual = residual->data();
  if (gate) arguments.gate = gate->data();
  DeviceArray<float> sums(s.sums ? static_cast<size_t>(s.batch) * plan.sumChunks() * s.outChannels : 0, "sums");
  if (s.sums) arguments.sums = sums.data();
  const Stream stream;
  plan.run(arguments, plan.workspace() ? workspace.data() : nullptr, stream);
  stream.synchronise();
  const std::vector<R> first = result.download();
  if (s.sums) a.sums = sums.download();

  // Captured and replayed: the same bits.
  result.spoil();
  wbsr::cuda::Graph graph;
  graph.capture(stream, [&] { plan.run(arguments, plan.workspace() ? workspace.data() : nullptr, stream); });
  graph.launch(stream);
  graph.launch(stream);
  stream.synchronise();
  sameBits(result.download(), first, s.text() + " from a graph");
  if (s.sums) sameBits(sums.download(), a.sums, s.text() + ", its sums from a graph");
  return toFloat(first);
}

// How many results are not numbers where one value of the operand or the residual is none; of a spec in bf16.
inline int64_t nansOf(ConvPlans& plans, const ConvSpec& s, Spoil spoil = Spoil::Operand) {
  Arrays a;
  const std::vector<float> values = runPlan<bf16, bf16>(s, *plans.get(s), a, spoil);
  return std::count_if(values.begin(), values.end(), [](float value) { return std::isnan(value); });
}

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Returns how the plan computes it.
inline std::string checkPlan(const ConvPlan& plan, const ConvSpec& s) {
  const bool bf16Operands = s.precision == Precision::Bf16;
  const Type result = plan.written();
  check(s.mode == ConvSpec::BackwardWeights || result == (s.mode == ConvSpec::Forward ? s.y : s.x),
        s.text() + " has its result's type");
  Arrays a;
  const std::vector<float> values = !bf16Operands         ? runPlan<float, float>(s, plan, a)
                                  : result == Type::Float ? runPlan<bf16, float>(s, plan, a)
                                                          : runPlan<bf16, bf16>(s, plan, a);
  const std::string how = plan.describe();
  const bool rounded = result == Type::Bf16 || how.find("converted") != std::string::npos;
  double largest = 0;
  const std::vector<double> expected = reference(s, a);
  for (const double value : expected) largest = std::max(largest, std::fabs(value));
  // A plain convolution is rounded once more before what is added to it.
  const bool tf32 = s.precision == Precision::Tf32;
  const double relative = rounded ? 1.0 / 128
                        : tf32    ? 2e-3
                                  : 1e-5,
               absolute = relative * std::max(0.1, largest) * (tf32 ? 2 : 1);
  closeTo(values, expected, absolute, relative, s.text() + " (" + how + ")");
  if (s.sums) {
    // Ours are sums before the rounding. Other roundings do not all go one way.
    const double each = has(how, "our own") ? 1e-5 * std::max(0.1, largest) : absolute;
    const int64_t pixels = s.outPixels() / s.batch, few = int64_t{s.batch} * s.outChannels;
    std::vector<double> wanted(static_cast<size_t>(few)), got(wanted.size());
    for (size_t i = 0; i < expected.size(); ++i)
      wanted[i / static_cast<size_t>(pixels * s.outChannels) * s.outChannels + i % s.outChannels] += expected[i];
    for (size_t i = 0; i < a.sums.size(); ++i)
      got[i / (static_cast<size_t>(plan.sumChunks()) * s.outChannels) * s.outChannels + i % s.outChannels] += a.sums[i];
    const std::vector<float> sums(got.begin(), got.end());
    closeTo(sums, wanted, each * std::sqrt(static_cast<double>(pixels)), 1e-5, s.text() + " (" + how + "), sums");
  }
  return how;
}

inline std::string checkSpec(ConvPlans& plans, const ConvSpec& s) { return checkPlan(*plans.get(s), s); }

inline const std::vector<Shape> kShapes = {
    {1, 1, 1, 8, 8, 3},   {1, 2, 3, 40, 16, 1},
#ifndef __SANITIZE_THREAD__  // where a kernel's threads are real ones
    {2, 5, 7, 40, 56, 3}, {3, 13, 1, 64, 8, 3}, {1, 11, 17, 8, 64, 5}, {2, 7, 3, 64, 256, 1},
#endif
};

// All directions and ends for a shape. f(spec)
template <typename F>
void eachSpec(const Shape& shape, Precision precision, F&& f) {
  ConvSpec s = makeSpec(ConvSpec::Forward, shape, precision);
  f(s);
  s.bias = true;
  f(s);
  for (const ActivationKind kind : {ActivationKind::Relu, ActivationKind::LeakyRelu, ActivationKind::Sigmoid}) {
    s.activation = kind;
    s.slope = 0.2f;
    for (const bool residual : {false, true}) {
      s.residual = residual;
      f(s);
    }
  }
  s.activation = ActivationKind::LeakyRelu, s.slopes = true;  // with the residual
  f(s);
  s.activation = ActivationKind::Silu, s.slopes = false, s.product = true, s.shift = -0.5f;
  f(s);
  s = makeSpec(ConvSpec::Forward, shape, precision);
  s.bias = s.sums = true;
  f(s);
  s = makeSpec(ConvSpec::Forward, shape, precision);
  s.residual = true;
  f(s);
  if (shape.out % 32 == 0) {
    s.residual = false, s.factor = 2;
    f(s);
    s.bias = true, s.activation = ActivationKind::LeakyRelu, s.slope = 0.2f;
    f(s);
    s = makeSpec(ConvSpec::Forward, shape, precision);
  }
  if (precision == Precision::Bf16) {
    s.residual = true, s.bias = true, s.y = Type::Float;
    f(s);
  }
  s = makeSpec(ConvSpec::BackwardData, shape, precision);
  for (const ActivationKind kind :
       {ActivationKind::None, ActivationKind::Relu, ActivationKind::LeakyRelu, ActivationKind::Sigmoid}) {
    s.gate = kind != ActivationKind::None;
    s.activation = kind;
    s.slope = 0.2f;
    for (const bool residual : {false, true}) {
      s.residual = residual;
      f(s);
      if (precision == Precision::Bf16 && (kind == ActivationKind::LeakyRelu || kind == ActivationKind::Sigmoid)) {
        s.x = Type::Float;
        f(s);
        s.x = Type::Bf16;
      }
    }
  }
  f(makeSpec(ConvSpec::BackwardWeights, shape, precision));
}

// What `work` throws: "CODE message", or nothing.
template <typename F>
std::string thrown(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code + " " + error.what();
  }
  return "";
}

// Calls the parts of a check, on the host as late as CUDA allows, too. False: there is no cuDNN.
inline bool runParts(const std::vector<void (*)()>& parts) {
#ifdef WBSR_HOST_CUDA
  for (void (*part)() : parts)
    for (const auto mode : {host_cuda::Mode::Immediate, host_cuda::Mode::Deferred}) {
      host_cuda::installFakeCudnn();
      host_cuda::setMode(mode);
      part();
    }
  host_cuda::setMode(host_cuda::Mode::Immediate);
#else
  if (const std::string tried = openCudnn(); !tried.empty()) {
    std::printf("cuDNN cannot be used: %s\n", tried.c_str());
    return false;
  }
  std::printf("%s at %s\n", cudnn::version().c_str(), cudnn::location().c_str());
  for (void (*part)() : parts) part();
#endif
  return true;
}

}  // namespace wbsr::test

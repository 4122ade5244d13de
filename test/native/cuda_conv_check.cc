// Convolutions through cuDNN's graph API against plain double loops: directions, fused ends, precisions, result types,
// awkward shapes; the cache of plans; faults. On the host cuDNN is the fake of host_cuda/fake_cudnn.h, on a GPU the real.
#include <algorithm>
#include <memory>
#include <thread>

#include "core/error.h"
#include "cuda/conv.h"
#include "cuda/cudnn_api.h"
#include "cuda_check.h"
#ifdef WBSR_HOST_CUDA
#include "fake_cudnn.h"
#endif

namespace {

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

struct Shape {
  int batch, height, width, in, out, kernel;
};

ConvSpec makeSpec(ConvSpec::Mode mode, const Shape& s, Precision precision = Precision::Bf16) {
  ConvSpec spec;
  spec.mode = mode;
  spec.batch = s.batch, spec.height = s.height, spec.width = s.width;
  spec.inChannels = s.in, spec.outChannels = s.out, spec.kernel = s.kernel;
  spec.precision = precision;
  spec.x = spec.y = precision == Precision::Bf16 ? Type::Bf16 : Type::Float;
  return spec;
}

double activate(double value, const ConvSpec& s) {
  if (s.activation == ActivationKind::Sigmoid) return 1 / (1 + std::exp(-value));
  if (s.activation == ActivationKind::None || value > 0) return value;
  return s.activation == ActivationKind::LeakyRelu ? s.slope * value : 0;
}

// The derivative at an argument whose result is `y`.
double slopeAt(double y, const ConvSpec& s) {
  if (s.activation == ActivationKind::Sigmoid) return y * (1 - y);
  return y > 0 || s.activation == ActivationKind::None ? 1 : s.activation == ActivationKind::LeakyRelu ? s.slope : 0;
}

struct Arrays {
  std::vector<float> x, w, y, bias, residual, gate;  // as the device holds them; the one that is computed is empty
};

// f(x's pixel, y's pixel, tap)
template <typename F> void eachTouch(const ConvSpec& s, F&& f) {
  const int pad = s.kernel / 2;
  for (int n = 0; n < s.batch; ++n)
    for (int i = 0; i < s.height; ++i)
      for (int j = 0; j < s.width; ++j)
        for (int r = 0; r < s.kernel; ++r)
          for (int q = 0; q < s.kernel; ++q) {
            const int y = i + r - pad, x = j + q - pad;
            if (y >= 0 && y < s.height && x >= 0 && x < s.width)
              f((int64_t{n} * s.height + y) * s.width + x, (int64_t{n} * s.height + i) * s.width + j, r * s.kernel + q);
          }
}

std::vector<double> reference(const ConvSpec& s, const Arrays& a) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width, taps = int64_t{s.kernel} * s.kernel, in = s.inChannels, out = s.outChannels;
  const bool forward = s.mode == ConvSpec::Forward, toData = s.mode == ConvSpec::BackwardData;
  std::vector<double> result(static_cast<size_t>(forward ? pixels * out : toData ? pixels * in : out * taps * in), 0.0);
  eachTouch(s, [&](int64_t at, int64_t to, int64_t tap) {
    for (int64_t k = 0; k < out; ++k)
      for (int64_t c = 0; c < in; ++c) {
        const int64_t weight = (k * taps + tap) * in + c;
        if (forward) result[to * out + k] += double{a.x[at * in + c]} * a.w[weight];
        else if (toData) result[at * in + c] += double{a.y[to * out + k]} * a.w[weight];
        else result[weight] += double{a.x[at * in + c]} * a.y[to * out + k];
      }
  });
  for (size_t i = 0; i < result.size(); ++i) {
    if (forward) {
      if (s.bias) result[i] += a.bias[i % out];
      result[i] = activate(result[i], s);
      if (s.residual) result[i] += a.residual[i];
    } else if (toData && s.gate) {
      result[i] *= slopeAt(a.gate[i], s);
    }
  }
  return result;
}

// Relu's results have zeros, and -0 is one of them.
std::vector<float> gateValues(const ConvSpec& s, size_t count) {
  std::vector<float> gate = randomVector(count, 7);
  for (size_t i = 0; i < count; ++i) {
    if (s.activation == ActivationKind::Sigmoid) gate[i] = 0.5f + 0.5f * gate[i];
    else if (s.activation == ActivationKind::Relu) gate[i] = gate[i] > 0 ? gate[i] : i % 3 ? 0.f : -0.f;
  }
  return gate;
}

// Operands of T, the result in R.
template <typename T, typename R> std::vector<float> runPlan(const ConvSpec& s, const ConvPlan& plan, Arrays& a) {
  const int64_t pixels = int64_t{s.batch} * s.height * s.width;
  const size_t in = static_cast<size_t>(pixels * s.inChannels), out = static_cast<size_t>(pixels * s.outChannels);
  const size_t weights = static_cast<size_t>(s.outChannels) * s.kernel * s.kernel * s.inChannels;
  const bool forward = s.mode == ConvSpec::Forward, toData = s.mode == ConvSpec::BackwardData;
  if (!toData) a.x = stored<T>(randomVector(in, 1));
  if (forward || toData) a.w = stored<T>(randomVector(weights, 2, -0.5, 0.5));
  if (!forward) a.y = stored<T>(randomVector(out, 3));
  if (s.bias) a.bias = randomVector(static_cast<size_t>(s.outChannels), 4);
  if (s.residual) a.residual = stored<R>(randomVector(out, 5));
  if (s.gate) a.gate = stored<R>(gateValues(s, in));

  const auto operand = [](const std::vector<float>& values) { return values.empty() ? nullptr : std::make_unique<DeviceArray<T>>(to<T>(values), "operand"); };
  const auto like = [](const std::vector<float>& values) { return values.empty() ? nullptr : std::make_unique<DeviceArray<R>>(to<R>(values), "addend"); };
  const auto x = operand(a.x), w = operand(a.w), y = operand(a.y);
  const auto residual = like(a.residual), gate = like(a.gate);
  std::unique_ptr<DeviceArray<float>> bias;
  if (s.bias) bias = std::make_unique<DeviceArray<float>>(a.bias, "bias");
  DeviceArray<R> result(forward ? out : toData ? in : weights, "result");
  DeviceArray<unsigned char> workspace(plan.workspace(), "workspace");
  ConvArguments arguments;
  arguments.x = toData ? static_cast<const void*>(result.data()) : x->data();
  arguments.w = forward || toData ? static_cast<const void*>(w->data()) : result.data();
  arguments.y = forward ? static_cast<const void*>(result.data()) : y->data();
  if (bias) arguments.bias = bias->data();
  if (residual) arguments.residual = residual->data();
  if (gate) arguments.gate = gate->data();
  const Stream stream;
  plan.run(arguments, plan.workspace() ? workspace.data() : nullptr, stream);
  stream.synchronise();
  const std::vector<R> first = result.download();

  // Captured and replayed: the same bits.
  result.spoil();
  wbsr::cuda::Graph graph;
  graph.capture(stream, [&] { plan.run(arguments, plan.workspace() ? workspace.data() : nullptr, stream); });
  graph.launch(stream);
  graph.launch(stream);
  stream.synchronise();
  sameBits(result.download(), first, s.text() + " from a graph");
  return toFloat(first);
}

std::string checkSpec(ConvPlans& plans, const ConvSpec& s) {
  const auto plan = plans.get(s);
  const bool bf16Operands = s.precision == Precision::Bf16;
  const Type result = s.mode == ConvSpec::Forward ? s.y : s.mode == ConvSpec::BackwardData ? s.x : Type::Float;
  Arrays a;
  const std::vector<float> values = !bf16Operands           ? runPlan<float, float>(s, *plan, a)
                                    : result == Type::Float ? runPlan<bf16, float>(s, *plan, a)
                                                            : runPlan<bf16, bf16>(s, *plan, a);
  const std::string how = plan->describe();
  const bool rounded = result == Type::Bf16 || how.find("converted") != std::string::npos;
  double largest = 0;
  const std::vector<double> expected = reference(s, a);
  for (const double value : expected) largest = std::max(largest, std::fabs(value));
  // A plain convolution is rounded once more before what is added to it.
  const double relative = rounded ? 1.0 / 128 : s.precision == Precision::Tf32 ? 2e-3 : 1e-5;
  closeTo(values, expected, relative * std::max(0.1, largest) * (s.precision == Precision::Tf32 ? 2 : 1), relative, s.text() + " (" + how + ")");
  return how;
}

const std::vector<Shape> kShapes = {
    {1, 1, 1, 8, 8, 3},
    {1, 2, 3, 40, 16, 1},
#ifndef __SANITIZE_THREAD__  // where a kernel's threads are real ones
    {2, 5, 7, 40, 56, 3},
    {3, 13, 1, 64, 8, 3},
    {1, 11, 17, 8, 64, 5},
    {2, 7, 3, 64, 256, 1},
#endif
};

// All directions and ends for a shape. f(spec)
template <typename F> void eachSpec(const Shape& shape, Precision precision, F&& f) {
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
  s = makeSpec(ConvSpec::Forward, shape, precision);
  s.residual = true;
  f(s);
  if (precision == Precision::Bf16) {
    s.bias = true, s.y = Type::Float;
    f(s);
  }
  s = makeSpec(ConvSpec::BackwardData, shape, precision);
  f(s);
  for (const ActivationKind kind : {ActivationKind::Relu, ActivationKind::LeakyRelu, ActivationKind::Sigmoid}) {
    s.gate = true;
    s.activation = kind;
    s.slope = 0.2f;
    f(s);
    if (precision == Precision::Bf16 && kind != ActivationKind::Relu) {
      s.x = Type::Float;
      f(s);
      s.x = Type::Bf16;
    }
  }
  f(makeSpec(ConvSpec::BackwardWeights, shape, precision));
}

void checkResults() {
  const auto plans = makeConvPlans(0, 0);
  for (const Precision precision : {Precision::Bf16, Precision::Tf32, Precision::Fp32})
    for (size_t i = 0; i < kShapes.size(); ++i)
      if (precision == Precision::Bf16 || i % 2 == 0) eachSpec(kShapes[i], precision, [&](const ConvSpec& s) { checkSpec(*plans, s); });
}

void checkAutotune() {
  const auto plans = makeConvPlans(0, 4);
  eachSpec({2, 5, 3, 24, 16, 3}, Precision::Bf16, [&](const ConvSpec& s) { checkSpec(*plans, s); });
}

void checkCache() {
  const Shape shape{1, 3, 5, 8, 16, 3};
  const ConvSpec a = makeSpec(ConvSpec::Forward, shape);
  ConvSpec b = a, c = a;
  b.bias = true, c.height = 4;
  const auto plans = makeConvPlans(0, 0, 2);
  const auto planA = plans->get(a), planB = plans->get(b);
  check(planA != planB && plans->get(a) == planA && plans->get(b) == planB, "two plans are kept");
  plans->get(a);
  const auto planC = plans->get(c);
  check(plans->get(c) == planC && plans->get(a) == planA, "the last used are kept");
  check(plans->get(b) != planB, "the least recently used one went");
  ConvSpec same = b;
  same.slope = 0.3f, same.gate = true, same.x = Type::Float;
  check(plans->get(same) == plans->get(b), "what a direction does not use is not part of the key");

  // Several threads that ask for the same get the same.
  const auto shared = makeConvPlans(0, 0);
  std::vector<std::shared_ptr<const ConvPlan>> got(4);
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&] { one = shared->get(a); });
  for (std::thread& thread : threads) thread.join();
  check(std::all_of(got.begin(), got.end(), [&](const auto& one) { return one && one == got[0]; }), "one plan for four threads");

  std::vector<ConvSpec> specs;
  eachSpec(shape, Precision::Bf16, [&](const ConvSpec& s) { specs.push_back(s); });
  const size_t kinds = specs.size();
  for (size_t i = 0; i < kinds; ++i) specs.push_back(specs[i]);
  shared->prepare(specs);
  shared->prepare({});
  for (const ConvSpec& s : specs) checkSpec(*shared, s);
}

// What `work` throws: "CODE message", or nothing.
template <typename F> std::string thrown(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code + " " + error.what();
  }
  return "";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void checkBadSpecs() {
  const auto plans = makeConvPlans(0, 0);
  for (const Shape& shape : {Shape{1, 4, 4, 12, 8, 3}, Shape{1, 4, 4, 8, 4, 3}, Shape{1, 4, 4, 8, 8, 2}, Shape{0, 4, 4, 8, 8, 3}, Shape{1, 0, 4, 8, 8, 3}}) {
    const ConvSpec s = makeSpec(ConvSpec::Forward, shape);
    const std::string error = thrown([&] { plans->get(s); });
    check(has(error, "WBSR_INTERNAL") && has(error, s.text()), s.text() + " is refused: " + error);
  }
}

#ifdef WBSR_HOST_CUDA
using host_cuda::failNextCudnn;
using host_cuda::fakeCudnn;
using host_cuda::fakeCudnnCounts;

void checkEngines() {
  const auto plans = makeConvPlans(0, 0);
  const auto engineOf = [&](const ConvSpec& s) {
    checkSpec(*plans, s);
    return fakeCudnnCounts().engine;
  };
  const Shape shape{2, 3, 5, 8, 16, 3};
  ConvSpec s = makeSpec(ConvSpec::Forward, shape);
  check(engineOf(s) == 1, "the first engine that works, is deterministic and has a workspace within bounds");
  s.bias = true;
  check(engineOf(s) == 4, "the fused one");
  check(has(plans->get(makeSpec(ConvSpec::BackwardWeights, shape))->describe(), "converted"), "dw is written as bf16 and converted");
  check(engineOf(makeSpec(ConvSpec::Forward, shape, Precision::Tf32)) == 9, "tf32 takes tensor cores");
  check(engineOf(makeSpec(ConvSpec::Forward, shape, Precision::Fp32)) == 1, "fp32 does not");
  fakeCudnn().bestMode = false;
  s.height = 4;
  check(engineOf(s) == 0, "the fallback's engine where the best mode has none");
}

void checkFallback() {
  fakeCudnn().fusion = false;
  fakeCudnn().floatResults = false;
  const auto plans = makeConvPlans(0, 0);
  for (const Shape& shape : kShapes)
    eachSpec(shape, Precision::Bf16, [&](const ConvSpec& s) {
      const std::string how = checkSpec(*plans, s);
      const bool end = s.bias || s.residual || s.activation != ActivationKind::None;
      const bool floats = s.mode == ConvSpec::BackwardWeights || (s.mode == ConvSpec::BackwardData && s.x == Type::Float);
      // dw of bf16 operands is written as bf16 wherever that can be.
      check(has(how, "not fused") == (end && s.mode != ConvSpec::BackwardWeights) && has(how, "converted") == floats, s.text() + " is done as " + how);
    });
  eachSpec(kShapes[1], Precision::Fp32, [&](const ConvSpec& s) { checkSpec(*plans, s); });
}

void checkFaults() {
  const ConvSpec s = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  failNextCudnn("cudnnCreate", cudnn::CUDNN_STATUS_INTERNAL_ERROR);
  std::string error = thrown([] { makeConvPlans(0, 0); });
  check(has(error, "WBSR_DEVICE_FAILED") && has(error, "cuDNN 9.24.0") && has(error, "device 0") && has(error, "CUDNN_STATUS_INTERNAL_ERROR in cudnnCreate"),
        "a handle that cannot be made: " + error);
  const auto plans = makeConvPlans(0, 0);
  fakeCudnn().engines = false;
  error = thrown([&] { plans->get(s); });
  check(has(error, "WBSR_DEVICE_FAILED") && has(error, s.text()) && has(error, "CUDNN_STATUS_NOT_SUPPORTED") == false && has(error, "no engine"), "no engine: " + error);
  error = thrown([&] { plans->prepare({s, makeSpec(ConvSpec::BackwardWeights, {1, 3, 5, 8, 16, 3})}); });
  check(has(error, "no engine"), "prepare() throws what happened: " + error);
  fakeCudnn().engines = true;
  // Both graphs, the plain one and none, fail where they are built.
  failNextCudnn("cudnnBackendFinalize", cudnn::CUDNN_STATUS_INTERNAL_ERROR);
  error = thrown([&] { plans->get(s); });
  check(has(error, "CUDNN_STATUS_INTERNAL_ERROR in cudnnBackendFinalize(tensor): this failure was asked for"), "a descriptor that cannot be made: " + error);
  const auto plan = plans->get(s);

  DeviceArray<bf16> x(3 * 5 * 8), w(16 * 9 * 8), y(3 * 5 * 16);
  x.zero(), w.zero();
  DeviceArray<unsigned char> workspace(plan->workspace());
  const Stream stream;
  const auto run = [&] { plan->run({x.data(), w.data(), y.data()}, workspace.data(), stream); };
  failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_EXECUTION_FAILED);
  error = thrown(run);
  check(has(error, "WBSR_DEVICE_FAILED") && has(error, s.text()) && has(error, "device 0") &&
            has(error, "CUDNN_STATUS_EXECUTION_FAILED in cudnnBackendExecute: this failure was asked for"),
        "an execution that fails: " + error);
  failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED);
  check(has(thrown(run), "WBSR_OUT_OF_MEMORY"), "no memory left in an execution");
  check(thrown(run).empty(), "the plan can be run on");
  stream.synchronise();
  check(has(thrown([&] { plan->run({x.data(), nullptr, y.data()}, workspace.data(), stream); }), "WBSR_INTERNAL"), "a tensor without a pointer");
  check(has(thrown([&] { plan->run({x.data() + 1, w.data(), y.data()}, workspace.data(), stream); }), "not aligned"), "a tensor that is not aligned");
}

void checkLifetimes() {
  const auto before = fakeCudnnCounts();
  const ConvSpec s = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  auto plans = makeConvPlans(0, 3);
  auto plan = plans->get(s);
  plans.reset();
  DeviceArray<bf16> x(3 * 5 * 8), w(16 * 9 * 8), y(3 * 5 * 16);
  x.zero(), w.zero();
  DeviceArray<unsigned char> workspace(plan->workspace());
  plan->run({x.data(), w.data(), y.data()}, workspace.data(), nullptr);
  check(y.download().size() == y.size(), "a plan outlives its cache");
  plan.reset();
  const auto after = fakeCudnnCounts();
  check(after.handles == before.handles && after.descriptors == before.descriptors, "handles and descriptors are given back");

  // No memory to time in: the heuristics' word is taken.
  const auto timed = makeConvPlans(0, 3);
  host_cuda::failNext("cudaMalloc", cudaErrorMemoryAllocation, 1);
  check(thrown([&] { checkSpec(*timed, s); }).empty(), "no memory for timing");

  host_cuda::setDevices(2);
  auto second = makeConvPlans(1, 0);
  int device = -1;
  CUDA_OK(cudaGetDevice(&device));
  check(device == 0, "the current device is left as it was");
  CUDA_OK(cudaSetDevice(1));
  checkSpec(*second, s);
  CUDA_OK(cudaSetDevice(0));
  second.reset();
  CUDA_OK(cudaGetDevice(&device));
  check(device == 0, "also when plans go");
  host_cuda::setDevices(1);
}

void checkLoader() {
  cudnn::install(nullptr);
  setenv("WBSR_CUDNN_PATH", "/nowhere/libcudnn.so.9", 1);
  const std::string tried = openCudnn();
  check(has(tried, "WBSR_CUDNN_PATH") && has(tried, "/nowhere/libcudnn.so.9"), "what was tried: " + tried);
  check(has(thrown([] { makeConvPlans(0, 0); }), "WBSR_NO_DEVICE cuDNN cannot be used: "), "no plans without cuDNN");
  unsetenv("WBSR_CUDNN_PATH");
  host_cuda::installFakeCudnn();
  check(openCudnn().empty() && cudnn::version() == "cuDNN 9.24.0", "a table that was installed");
}
#endif

}  // namespace

int main() {
#ifdef WBSR_HOST_CUDA
  const auto each = [](void (*part)()) {
    for (const auto mode : {host_cuda::Mode::Immediate, host_cuda::Mode::Deferred}) {
      host_cuda::installFakeCudnn();
      host_cuda::setMode(mode);
      part();
    }
    host_cuda::setMode(host_cuda::Mode::Immediate);
  };
  checkLoader();
#else
  const auto each = [](void (*part)()) { part(); };
  if (const std::string tried = openCudnn(); !tried.empty()) {
    std::printf("cuDNN cannot be used: %s\n", tried.c_str());
    return 2;
  }
  std::printf("%s at %s\n", cudnn::version().c_str(), cudnn::location().c_str());
#endif
  each(checkResults);
  each(checkAutotune);
  each(checkCache);
  each(checkBadSpecs);
#ifdef WBSR_HOST_CUDA
  each(checkEngines);
  each(checkFallback);
  each(checkFaults);
  each(checkLifetimes);
#endif
  return finish();
}

// Our own convolutions on tensor cores against plain double loops: all widths, odd sizes, ends, sub-pixels, the order of a
// batch; and as an engine that cuDNN's are timed against.
#include "cuda/conv/tile_conv.h"

#include <unistd.h>

#include <filesystem>

#include "cuda/operators/kernels.h"
#include "support/conv_reference.h"

namespace {

using namespace wbsr;
using namespace wbsr::test;

// Where a kernel's threads are real ones, which takes several times as long.
#ifdef __SANITIZE_THREAD__
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

void checkShape(const Shape& shape, ActivationKind activation, bool bias, bool residual, Type y = Type::Bf16,
                bool slopes = false, bool product = false) {
  ConvSpec s = makeSpec(ConvSpec::Forward, shape);
  s.bias = bias, s.residual = residual, s.activation = activation, s.slope = 0.2f, s.y = y;
  s.slopes = slopes, s.product = product, s.shift = product ? -0.5f : 0.f;
  const auto plan = makeTilePlan(s);
  check(plan != nullptr, s.text() + " has tiles");
  if (plan) checkPlan(*plan, s);
}

// factor > 1: the filters of a plane follow each other, and y has the enlarged picture. Images of a batch one by one give
// the same bits.
void checkPlanes(const Shape& shape, int factor, ActivationKind activation) {
  const int planes = factor * factor;
  ConvSpec s = makeSpec(ConvSpec::Forward, {shape.batch, shape.height, shape.width, shape.in, planes * shape.out, 3});
  s.bias = true, s.activation = activation, s.slope = 0.1f;
  Arrays a;
  a.x = stored<bf16>(randomVector(static_cast<size_t>(s.inPixels() * s.inChannels), 1));
  a.w = stored<bf16>(randomVector(static_cast<size_t>(s.outChannels) * 9 * s.inChannels, 2, -0.5, 0.5));
  a.bias = randomVector(static_cast<size_t>(s.outChannels), 3);
  const std::vector<double> flat = reference(s, a);
  std::vector<double> expected(flat.size());
  double largest = 0;
  for (size_t i = 0; i < flat.size(); ++i) {
    const size_t channel = i % static_cast<size_t>(shape.out), plane = i / shape.out % planes,
                 x = i / s.outChannels % s.width, row = i / s.outChannels / s.width;
    expected[(((row * factor + plane / factor) * s.width + x) * factor + plane % factor) * shape.out + channel] =
        flat[i];
    largest = std::max(largest, std::fabs(flat[i]));
  }
  const DeviceArray<bf16> x(toBf16(a.x), "x"), w(toBf16(a.w), "w");
  const DeviceArray<float> bias(a.bias, "bias");
  DeviceArray<bf16> y(expected.size(), "y"), again(expected.size(), "y again");
  TileConv c{s.batch, s.height, s.width, s.inChannels, shape.out, factor, 3, activation, s.slope};
  check(hasTileConv(c), s.text() + " has tiles");
  tileConv<bf16>(c, x, w, bias, nullptr, nullptr, y, nullptr);
  const std::string name = s.text() + " with " + std::to_string(planes) + " planes";
  closeTo(toFloat(y.download()), expected, largest / 128, 1.0 / 128, name);
  const int64_t in = s.inPixels() / s.batch * s.inChannels, out = static_cast<int64_t>(expected.size()) / s.batch;
  c.batch = 1;
  for (int n = 0; n < s.batch; ++n)
    tileConv<bf16>(c, x.data() + n * in, w, bias, nullptr, nullptr, again.data() + n * out, nullptr);
  sameBits(again.download(), y.download(), name + ", images one by one");
}

// Against a convolution and an enlargement after each other.
void checkOnto(int batch, int height, int width, int in, int times, bool cubic, int channels) {
  const int H = height * times, W = width * times;
  ConvSpec s = makeSpec(ConvSpec::Forward, {batch, H, W, in, 8, 3});
  s.bias = true, s.y = Type::Float;
  const size_t pixels = static_cast<size_t>(s.outPixels());
  std::vector<float> small = randomVector(pixels / times / times * 8, 1),
                     weights = randomVector(static_cast<size_t>(8 * 9 * in), 2, -0.5, 0.5), bias = randomVector(8, 3);
  // Padding is 0.
  for (size_t i = 0; i < small.size(); ++i)
    if (static_cast<int>(i % 8) >= channels) small[i] = 0;
  for (size_t i = 0; i < weights.size(); ++i)
    if (static_cast<int>(i) / (9 * in) >= channels) weights[i] = 0;
  for (int i = channels; i < 8; ++i) bias[static_cast<size_t>(i)] = 0;
  const DeviceArray<bf16> x(toBf16(randomVector(pixels * in, 4)), "x"), w(toBf16(weights), "w");
  const DeviceArray<float> deviceSmall(small, "small"), deviceBias(bias, "bias");
  DeviceArray<float> plain(pixels * 8), expected(pixels * 8), y(pixels * 8, "y"), again(pixels * 8, "y again");
  TileConv c{batch, H, W, in, 8, 1, 3, ActivationKind::None, 0};
  const Enlargement e{times, cubic, channels};
  const std::string name = s.text() + (cubic ? " onto bicubic x" : " onto bilinear x") + std::to_string(times);
  check(hasTileConvOnto(c, e), name + " has a kernel");
  tileConv<float>(c, x, w, deviceBias, nullptr, nullptr, plain, nullptr);
  upsample<float>(deviceSmall, plain, expected, batch, height, width, 8, times, cubic, nullptr);
  tileConvOnto(c, e, x, w, deviceBias, deviceSmall, y, nullptr);
  const std::vector<float> got = y.download();
  closeTo(got, expected.download(), 1e-6, 1e-6, name);
  c.batch = 1;
  for (int n = 0; n < batch; ++n)
    tileConvOnto(c, e, x.data() + pixels / batch * n * in, w, deviceBias, deviceSmall.data() + small.size() / batch * n,
                 again.data() + pixels / batch * n * 8, nullptr);
  sameBits(again.download(), got, name + ", images one by one");
}

void checkOntos() {
  checkOnto(2, 5, 4, 16, 2, true, 7);
  check(!hasTileConvOnto({1, 8, 8, 72, 8, 1, 3, ActivationKind::None, 0}, {2, false, 3}), "more than 64 channels in");
  if (kWatched) return;
  checkOnto(1, 1, 1, 64, 4, false, 3);
  checkOnto(2, 5, 9, 64, 4, false, 3);
  checkOnto(2, 4, 7, 24, 3, true, 3);
  checkOnto(1, 19, 21, 40, 1, false, 5);
}

void checkWidths() {
  using enum ActivationKind;
  const ActivationKind kinds[] = {None, Relu, LeakyRelu, Sigmoid, Silu, Gelu, Tanh};
  int turn = 0;
  for (const auto& [in, out] :
       {std::pair{8, 8}, {16, 16}, {24, 24}, {32, 32}, {40, 48}, {48, 48}, {56, 64}, {64, 16}, {24, 64}, {64, 64}}) {
    if (kWatched && in != 24) continue;
    checkShape({1, 3, 13, in, out, 3}, kinds[turn % 7], turn % 2 == 0, turn % 4 < 2);
    ++turn;
  }
}

void checkShapes() {
  using enum ActivationKind;
  checkShape({1, 1, 1, 64, 64, 3}, Relu, true, true);
  checkShape({3, 17, 15, 24, 40, 3}, LeakyRelu, true, false);
  checkShape({1, 3, 5, 16, 24, 3}, LeakyRelu, true, true, Type::Bf16, true);

  checkPlanes({2, 3, 4, 16, 8, 3}, 3, Relu);
  if (kWatched) return;
  checkShape({2, 33, 37, 16, 16, 3}, None, true, true);   // more tiles than blocks
  checkShape({1, 4, 40, 64, 136, 3}, Relu, true, false);  // slices, the last of eight channels
  checkShape({2, 6, 18, 40, 64, 1}, None, false, false);
  checkShape({1, 9, 8, 16, 24, 5}, Relu, true, true);
  checkShape({2, 7, 21, 64, 8, 3}, None, true, false, Type::Float);
  checkShape({1, 18, 5, 48, 8, 3}, LeakyRelu, true, true, Type::Float);
  checkPlanes({2, 5, 9, 40, 64, 3}, 2, LeakyRelu);
  checkPlanes({1, 2, 3, 16, 72, 3}, 2, None);
}

// Smooth activations and SPAN's product, in every kernel that they have.
void checkSmooth() {
  using enum ActivationKind;
  for (const ActivationKind kind : {Sigmoid, Silu, Gelu, Tanh}) {
    checkShape({2, 3, 18, 16, 8, 3}, kind, true, true);
    checkPlanes({2, 2, 5, 8, 8, 3}, 2, kind);
    if (!kWatched) checkShape({1, 3, 17, 24, 8, 3}, kind, true, true, Type::Float);
  }
  checkShape({2, 3, 17, 24, 16, 3}, Sigmoid, true, true, Type::Bf16, false, true);
  if (kWatched) return;
  checkShape({1, 2, 17, 16, 8, 3}, Sigmoid, true, true, Type::Float, false, true);
  for (const int out : {16, 24, 32, 48, 64}) {
    for (const ActivationKind kind : {Sigmoid, Silu, Gelu, Tanh}) checkShape({1, 3, 17, 16, out, 3}, kind, true, false);
    checkShape({1, 3, 17, 16, out, 3}, Sigmoid, false, true, Type::Bf16, false, true);
  }
}

// Sums of the results, tile by tile; those of an image do not depend on the others, and NaN stays in its channels.
void checkSums(const Shape& shape) {
  ConvSpec s = makeSpec(ConvSpec::Forward, shape);
  s.bias = s.sums = true;
  const auto plan = makeTilePlan(s);
  check(plan != nullptr, s.text() + " has tiles");
  if (!plan) return;
  checkPlan(*plan, s);
  const size_t in = static_cast<size_t>(s.inPixels() * s.inChannels),
               out = static_cast<size_t>(s.outPixels() * s.outChannels);
  std::vector<float> values = randomVector(in, 1);
  std::vector<float> weights = randomVector(static_cast<size_t>(s.outChannels) * s.kernel * s.kernel * s.inChannels, 2);
  weights.back() = NAN;  // of the last channel
  const DeviceArray<bf16> x(toBf16(values), "x"), w(toBf16(weights), "w");
  const DeviceArray<float> bias(randomVector(static_cast<size_t>(s.outChannels), 3), "bias");
  DeviceArray<bf16> y(out, "y"), plain(out, "plain");
  TileConv c{s.batch, s.height, s.width, s.inChannels, s.outChannels, 1, s.kernel, ActivationKind::None, 0.f};
  tileConv<bf16>(c, x, w, bias, nullptr, nullptr, plain, nullptr);
  c.sums = true;
  const size_t ofImage = static_cast<size_t>(tileSums(c)) * s.outChannels;
  DeviceArray<float> sums(s.batch * ofImage, "sums"), again(s.batch * ofImage, "sums again");
  tileConv<bf16>(c, x, w, bias, nullptr, nullptr, y, nullptr, sums);
  sameBits(y.download(), plain.download(), s.text() + ": the results are those without sums");
  const std::vector<float> got = sums.download();
  bool right = true;
  for (size_t i = 0; i < got.size(); ++i)
    right = right && (i % s.outChannels + 1 == static_cast<size_t>(s.outChannels) || std::isfinite(got[i]));
  check(right && std::isnan(got[static_cast<size_t>(s.outChannels) - 1]), s.text() + ": NaN stays in its channel");
  c.batch = 1;
  for (int n = 0; n < s.batch; ++n)
    tileConv<bf16>(c, x.data() + in / s.batch * n, w, bias, nullptr, nullptr, y, nullptr, again.data() + ofImage * n);
  sameBits(again.download(), got, s.text() + ", images one by one");
}

void checkAllSums() {
  checkSums({2, 17, 18, 8, 24, 3});
  if (kWatched) return;
  checkSums({3, 33, 20, 16, 16, 3});
  checkSums({1, 18, 3, 8, 8, 5});
  checkSums({2, 13, 34, 64, 64, 3});
  checkSums({1, 20, 17, 24, 32, 3});
  checkSums({2, 19, 9, 40, 48, 1});
  checkSums({1, 3, 5, 16, 136, 3});
#ifdef WBSR_HOST_CUDA
  host_cuda::setSharedMemory(99 << 10);
  checkSums({2, 17, 17, 64, 64, 3});
  checkSums({1, 10, 9, 48, 48, 3});
  host_cuda::setSharedMemory(0);
#endif
}

void checkNone() {
  const auto has = [](Shape shape, auto change) {
    ConvSpec s = makeSpec(ConvSpec::Forward, shape);
    change(s);
    return makeTilePlan(s) != nullptr;
  };
  const Shape shape{1, 8, 8, 64, 64, 3};
  check(has(shape, [](ConvSpec&) {}), "a shape that there is a kernel for");
  check(!has({1, 8, 8, 72, 64, 3}, [](ConvSpec&) {}), "more than 64 channels in");
  check(!has({1, 8, 8, 64, 64, 7}, [](ConvSpec&) {}), "a large kernel");
  check(!has(shape, [](ConvSpec& s) { s.stride = 2; }), "strides");
  check(!has(shape, [](ConvSpec& s) { s.padding = 0; }), "no padding");
  check(!has(shape, [](ConvSpec& s) { s.activation = ActivationKind::Exp; }), "other activations");
  const auto product = [](ActivationKind kind) {
    return [kind](ConvSpec& s) { s.activation = kind, s.product = s.residual = true; };
  };
  check(has(shape, product(ActivationKind::Sigmoid)) && !has(shape, product(ActivationKind::Silu)), "other products");
  check(!has(shape, [](ConvSpec& s) { s.mode = ConvSpec::BackwardData; }), "gradients");
  check(!has(shape, [](ConvSpec& s) { s.precision = Precision::Tf32, s.x = s.y = Type::Float; }), "tf32");
}

// A pixel that is not a number stays so in the results that see it, and in these alone.
void checkNan(ActivationKind kind, bool product = false) {
  const int height = 6, width = 20, channels = 24;
  const size_t results = static_cast<size_t>(height * width * 8);
  std::vector<float> values(static_cast<size_t>(height * width * channels), 0.5f);
  values[static_cast<size_t>((2 * width + 17) * channels + channels - 1)] = NAN;
  const DeviceArray<bf16> x(toBf16(values)),
      w(toBf16(std::vector<float>(static_cast<size_t>(8 * 9 * channels), 0.25f))),
      residual(toBf16(std::vector<float>(results, 1.f)));
  DeviceArray<bf16> y(results);
  const TileConv c{1, height, width, channels, 8, 1, 3, kind, 0, product, product ? -0.5f : 0.f};
  tileConv<bf16>(c, x, w, nullptr, nullptr, residual, y, nullptr);
  const std::vector<float> got = toFloat(y.download());
  bool right = true;
  for (int i = 0; i < height * width * 8; ++i) {
    const int py = i / 8 / width, px = i / 8 % width;
    right = right && std::isnan(got[static_cast<size_t>(i)]) == (std::abs(py - 2) <= 1 && std::abs(px - 17) <= 1);
  }
  check(right, "NaN reaches its neighbours, activation " + std::to_string(static_cast<int>(kind)));
}

void checkNans() {
  using enum ActivationKind;
  for (const ActivationKind kind : {Relu, Sigmoid, Silu, Gelu, Tanh}) checkNan(kind);
  checkNan(Sigmoid, true);
}

// Cards with 99 KiB of shared memory have smaller tiles, and two slices of 64 channels; others have no room for some.
void checkSmallMemory() {
#ifdef WBSR_HOST_CUDA
  using enum ActivationKind;
  const auto fits = [](const Shape& shape) { return makeTilePlan(makeSpec(ConvSpec::Forward, shape)) != nullptr; };
  host_cuda::setSharedMemory(99 << 10);
  checkShape({1, 9, 5, 64, 64, 3}, Relu, true, true);
  checkShape({1, 9, 5, 48, 48, 3}, Silu, true, false);
  check(fits({1, 9, 5, 64, 8, 3}) && !fits({1, 9, 5, 64, 64, 5}), "99 KiB");
  check(hasTileConvOnto({1, 8, 8, 64, 8, 1, 3, None, 0}, {4, false, 3}), "99 KiB are enough for the end of a network");
  host_cuda::setSharedMemory(48 << 10);
  check(fits({1, 9, 5, 16, 16, 3}) && !fits({1, 9, 5, 64, 64, 3}), "48 KiB");
  host_cuda::setSharedMemory(0);
#endif
}

// Plans that are timed include ours; the choice outlives the process.
void checkChoice() {
#ifdef WBSR_HOST_CUDA
  host_cuda::installFakeCudnn();
  host_cuda::fakeCudnn().engines = false;
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("wbsr-tiles-" + std::to_string(getpid()));
  fs::remove_all(folder);
  setenv("WBSR_PLAN_CACHE", folder.c_str(), 1);
  ConvSpec s = makeSpec(ConvSpec::Forward, {1, 5, 6, 24, 16, 3});
  s.bias = true, s.activation = ActivationKind::Relu;
  check(has(thrown([&] { makeConvPlans(0, 0)->get(s); }), "no engine"), "untimed plans are cuDNN's");
  for (int i = 0; i < 2; ++i) {
    check(has(checkSpec(*makeConvPlans(0, 2), s), "our own tiles"), "a timed plan is ours where cuDNN has none");
    check(std::distance(fs::directory_iterator(folder), {}) == 1, "it is kept");
  }
  ConvSpec smooth = s;
  smooth.activation = ActivationKind::Silu;
  check(has(checkSpec(*makeConvPlans(0, 2), smooth), "our own tiles"), "so is one with a SiLU");
  host_cuda::installFakeCudnn();
  check(has(checkSpec(*makeConvPlans(0, 2), s), "our own tiles"), "and read again, although cuDNN has one");
  fs::remove_all(folder);
  setenv("WBSR_PLAN_CACHE", "", 1);
#endif
}

}  // namespace

int main() {
  checkWidths();
  checkShapes();
  checkSmooth();
  checkAllSums();
  checkOntos();
  checkNone();
  checkNans();
  checkSmallMemory();
  checkChoice();
  return finish();
}

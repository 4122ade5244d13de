// Checks of elementwise kernels (activation.cu, add.cu, formats.cu, epilogue.cu) against plain loops: counts around a
// vector, a block and several blocks, in place and not, bf16 and float.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cuda/conv/kernels.h"
#include "cuda/kernels/formats.h"
#include "cuda/operators/kernels.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

template <typename T>
std::vector<float> values(const DeviceArray<T>& array) {
  return toFloat(array.download());
}

template <typename T>
const char* nameOf() {
  return sizeof(T) == 2 ? "bf16" : "float";
}
template <typename T>
double roundingOf() {
  return sizeof(T) == 2 ? 1.0 / 256 : 1e-6;
}

template <typename T>
std::vector<T> noise(int64_t count, uint64_t seed) {
  return to<T>(randomVector(static_cast<size_t>(count), seed, -3, 3));
}

double activated(double x, ActivationKind kind, double slope) {
  if (kind == ActivationKind::Sigmoid) return 1 / (1 + std::exp(-x));
  if (kind == ActivationKind::Relu) return x > 0 ? x : 0;
  if (kind == ActivationKind::LeakyRelu) return x > 0 ? x : slope * x;
  if (kind == ActivationKind::Silu) return x / (1 + std::exp(-x));
  if (kind == ActivationKind::Gelu) return x * 0.5 * (1 + std::erf(x / std::sqrt(2.)));
  if (kind == ActivationKind::Tanh) return std::tanh(x);
  if (kind == ActivationKind::Exp) return std::exp(x);
  if (kind == ActivationKind::Reciprocal) return 1 / x;
  return x;
}

// By the output y, as in the backward pass; of silu and gelu by the input.
double derivative(double y, ActivationKind kind, double slope) {
  const double e = 1 / (1 + std::exp(-y));
  if (kind == ActivationKind::Silu) return e * (1 + y * (1 - e));
  if (kind == ActivationKind::Gelu)
    return 0.5 * (1 + std::erf(y / std::sqrt(2.))) + y * std::exp(-y * y / 2) / std::sqrt(2 * std::acos(-1.));
  if (kind == ActivationKind::Tanh) return 1 - y * y;
  if (kind == ActivationKind::Exp) return y;
  if (kind == ActivationKind::Reciprocal) return -y * y;
  if (kind == ActivationKind::Sigmoid) return y * (1 - y);
  if (kind == ActivationKind::Relu) return y > 0 ? 1 : 0;
  if (kind == ActivationKind::LeakyRelu) return y > 0 ? 1 : slope;
  return 1;
}

const ActivationKind kKinds[] = {ActivationKind::None,    ActivationKind::Relu, ActivationKind::LeakyRelu,
                                 ActivationKind::Sigmoid, ActivationKind::Silu, ActivationKind::Gelu,
                                 ActivationKind::Tanh,    ActivationKind::Exp,  ActivationKind::Reciprocal};
const int64_t kCounts[] = {0, 1, 7, 8, 13, 4096, 4097, 4104, 3 * 4096 + 5};

template <typename T>
void activations(cudaStream_t stream) {
  const float slope = 0.1f;
  for (int64_t count : kCounts) {
    for (ActivationKind kind : kKinds) {
      const std::string what = std::string(nameOf<T>()) + " kind " + std::to_string(static_cast<int>(kind)) +
                               " count " + std::to_string(count);
      const std::vector<T> x = noise<T>(count, 1), dy = noise<T>(count, 2);
      std::vector<double> y, dx;
      for (int64_t i = 0; i < count; ++i) {
        y.push_back(activated(static_cast<float>(x[i]), kind, slope));
        dx.push_back(static_cast<float>(dy[i]) * derivative(static_cast<float>(x[i]), kind, slope));
      }
      DeviceArray<T> in(x), out(count), inPlace(x);
      activation(in.data(), out.data(), count, kind, slope, stream);
      activation(inPlace.data(), inPlace.data(), count, kind, slope, stream);
      const double absolute = kind == ActivationKind::Gelu ? 5e-7 : 1e-7;  // core/math/activation.h
      closeTo(values(out), y, absolute, roundingOf<T>(), "activation " + what);
      closeTo(values(inPlace), y, absolute, roundingOf<T>(), "activation in place " + what);
      DeviceArray<T> gradient(dy), into(count);
      activationBackward(gradient.data(), in.data(), into.data(), count, kind, slope, stream);
      activationBackward(gradient.data(), in.data(), gradient.data(), count, kind, slope, stream);
      closeTo(values(into), dx, 1e-6, roundingOf<T>(), "activationBackward " + what);
      closeTo(values(gradient), dx, 1e-6, roundingOf<T>(), "activationBackward in place " + what);
    }
  }
  // A NaN must not be lost: it is how a run notices that it failed.
  DeviceArray<T> nan(to<T>(std::vector<float>(9, std::numeric_limits<float>::quiet_NaN())));
  for (ActivationKind kind : kKinds) {
    activation(nan.data(), nan.data(), 9, kind, slope, stream);
    for (float v : values(nan)) check(std::isnan(v), "activation keeps NaN");
  }
}

template <typename T>
void sums(cudaStream_t stream) {
  for (int64_t count : kCounts) {
    const std::vector<T> a = noise<T>(count, 3), b = noise<T>(count, 4);
    std::vector<double> expected;
    for (int64_t i = 0; i < count; ++i)
      expected.push_back(stored<T>(static_cast<float>(a[i]) + static_cast<float>(b[i])));  // rounded once
    DeviceArray<T> left(a), right(b), out(count);
    add(left.data(), right.data(), out.data(), count, stream);
    add(left.data(), right.data(), right.data(), count, stream);
    const std::string what = std::string(nameOf<T>()) + " count " + std::to_string(count);
    closeTo(values(out), expected, 0, 0, "add " + what);
    closeTo(values(right), expected, 0, 0, "add in place " + what);
  }
}

void casts(cudaStream_t stream) {
  for (int64_t count : kCounts) {
    const std::vector<float> x = noise<float>(count, 5);
    std::vector<double> rounded, same;
    for (float v : x) {
      rounded.push_back(stored<bf16>(v));
      same.push_back(v);
    }
    DeviceArray<float> from(x), back(count), copy(count);
    DeviceArray<bf16> to(count);
    cast(from.data(), to.data(), count, stream);
    cast(to.data(), back.data(), count, stream);
    cast(from.data(), copy.data(), count, stream);
    closeTo(values(to), rounded, 0, 0, "cast to bf16, count " + std::to_string(count));
    closeTo(values(back), rounded, 0, 0, "cast from bf16, count " + std::to_string(count));
    closeTo(values(copy), same, 0, 0, "cast float to float, count " + std::to_string(count));
  }
}

template <typename Conv, typename Out>
void epilogues(cudaStream_t stream) {
  const float slope = 0.25f;
  for (int channels : {8, 40, 64, 1032}) {
    for (int64_t pixels : {0, 1, 13, 131}) {
      for (int variant = 0; variant < 16; ++variant) {
        const ActivationKind kind = kKinds[variant % 4];
        const bool withBias = variant & 4, withResidual = variant & 8;
        const int64_t count = pixels * channels;
        const std::vector<Conv> conv = noise<Conv>(count, 6);
        const std::vector<float> bias = noise<float>(channels, 7);
        const std::vector<Out> residual = noise<Out>(count, 8);
        std::vector<double> expected;
        for (int64_t i = 0; i < count; ++i)
          expected.push_back(
              activated(static_cast<float>(conv[i]) + (withBias ? bias[i % channels] : 0.f), kind, slope) +
              (withResidual ? static_cast<double>(static_cast<float>(residual[i])) : 0.0));
        DeviceArray<Conv> in(conv);
        DeviceArray<float> b(bias);
        DeviceArray<Out> r(residual), out(count);
        const std::string what = std::string("convEpilogue ") + nameOf<Conv>() + " to " + nameOf<Out>() + " " +
                                 std::to_string(pixels) + "x" + std::to_string(channels) + " variant " +
                                 std::to_string(variant);
        const Epilogue end{withBias ? b.data() : nullptr, kind, slope};
        convEpilogue(in.data(), end, withResidual ? r.data() : nullptr, out.data(), pixels, channels, stream);

        closeTo(values(out), expected, 1e-6, roundingOf<Out>(), what);
        if (withResidual) {
          convEpilogue(in.data(), end, r.data(), r.data(), pixels, channels, stream);

          closeTo(values(r), expected, 1e-6, roundingOf<Out>(), what + ", out is residual");
        } else if constexpr (std::is_same_v<Conv, Out>) {
          convEpilogue(in.data(), end, static_cast<const Out*>(nullptr), in.data(), pixels, channels, stream);

          closeTo(values(in), expected, 1e-6, roundingOf<Out>(), what + ", out is conv");
        }
      }
    }
  }
}

template <typename T>
void planar(cudaStream_t stream) {
  for (int batch : {0, 1, 3}) {
    for (int64_t pixels : {0, 1, 255, 257, 600}) {
      const std::vector<float> x = noise<float>(batch * 3 * pixels, 9);
      std::vector<double> thin, rounded, same(x.begin(), x.end());
      for (int64_t n = 0; n < batch; ++n)
        for (int64_t p = 0; p < pixels; ++p)
          for (int c = 0; c < 8; ++c) {
            thin.push_back(c < 3 ? x[(n * 3 + c) * pixels + p] : 0.0);
            rounded.push_back(stored<T>(static_cast<float>(thin.back())));
          }
      const std::string what = std::string(nameOf<T>()) + " " + std::to_string(batch) + "x" + std::to_string(pixels);
      DeviceArray<float> in(x), out(batch * pixels * 8), without(batch * pixels * 8), back(batch * 3 * pixels);
      DeviceArray<T> copy(batch * pixels * 8);
      planarToThin<T>(in.data(), out.data(), copy.data(), batch, pixels, stream);
      planarToThin<T>(in.data(), without.data(), nullptr, batch, pixels, stream);
      thinToPlanar(out.data(), back.data(), batch, pixels, stream);
      closeTo(values(out), thin, 0, 0, "planarToThin " + what);
      closeTo(values(without), thin, 0, 0, "planarToThin without a copy " + what);
      closeTo(values(copy), rounded, 0, 0, "planarToThin copy " + what);
      closeTo(values(back), same, 0, 0, "thinToPlanar " + what);
    }
  }
}

}  // namespace

int main() {
  const Stream stream;
  activations<float>(stream);
  activations<bf16>(stream);
  sums<float>(stream);
  sums<bf16>(stream);
  casts(stream);
  epilogues<float, bf16>(stream);
  epilogues<bf16, bf16>(stream);
  epilogues<float, float>(stream);
  epilogues<bf16, float>(stream);
  planar<float>(stream);
  planar<bf16>(stream);
  return finish();
}

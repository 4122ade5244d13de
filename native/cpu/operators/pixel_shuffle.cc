#include "core/operators/pixel_shuffle.h"

#include <algorithm>
#include <vector>

#include "cpu/elementwise.h"
#include "cpu/executable.h"

namespace wbsr::cpu {
namespace {

using operators::PixelShuffle;

// Where channel c of pixel (y, x) lies inside one batch item.
inline int64_t at(const Layout& l, int c, int y, int x) {
  return ((int64_t{c / l.lanes} * l.h + y) * l.w + x) * l.lanes + c % l.lanes;
}

// Channel order c r^2 + i r + j between any layouts.
void shuffleGeneric(const Layout& small, const float* in, const Layout& large, float* out, int batch, int factor,
                    int channels) {
  if (large.kind == Layout::Blocked) std::fill(out, out + large.image() * batch, 0.f);  // padded channels
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int c = 0; c < channels; ++c)
      for (int y = 0; y < large.h; ++y)
        for (int x = 0; x < large.w; ++x)
          out[n * large.image() + at(large, c, y, x)] =
              in[n * small.image() +
                 at(small, (c * factor + y % factor) * factor + x % factor, y / factor, x / factor)];
}

// Blocked to thin, the RGB end: the `factor` sub-pixels of one row of one channel are neighbours in a block, so they are
// copied together. kFactor > 0: known while compiling.
template <int kFactor>
void shuffleToThin(const Layout& small, const float* in, const Layout& large, float* out, int batch, int factor,
                   int channels) {
  const int r = kFactor > 0 ? kFactor : factor;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int y = 0; y < small.h; ++y)
      for (int c = 0; c < channels; ++c)
        for (int i = 0; i < r; ++i) {
          const int first = (c * r + i) * r;
          const float* from = in + n * small.image() + at(small, first, y, 0);
          float* to = out + n * large.image() + at(large, c, y * r + i, 0);
          for (int x = 0; x < small.w; ++x)
            for (int j = 0; j < r; ++j) to[x * r + j] = from[int64_t{x} * small.lanes + j];
        }
}

// Whether the sub-pixels of one row never lie in two blocks.
bool copiesTogether(const Layout& small, const Layout& large, int factor) {
  return small.kind == Layout::Blocked && large.kind == Layout::Thin && small.lanes % factor == 0;
}

// The way back of shuffleToThin().
template <int kFactor>
void unshuffleFromThin(const Layout& small, float* gradIn, const Layout& large, const float* gradOut, int batch,
                       int factor, int channels) {
  const int r = kFactor > 0 ? kFactor : factor, L = small.lanes;
  const bool padded = channels * r * r < small.planes * L;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int y = 0; y < small.h; ++y) {
      float* image = gradIn + n * small.image();
      if (padded) std::fill_n(image + at(small, (small.planes - 1) * L, y, 0), int64_t{small.w} * L, 0.f);
      for (int c = 0; c < channels; ++c)
        for (int i = 0; i < r; ++i) {
          float* to = image + at(small, (c * r + i) * r, y, 0);
          const float* from = gradOut + n * large.image() + at(large, c, y * r + i, 0);
          for (int x = 0; x < small.w; ++x)
            for (int j = 0; j < r; ++j) to[int64_t{x} * L + j] = from[x * r + j];
        }
    }
}

void unshuffleGeneric(const Layout& small, float* gradIn, const Layout& large, const float* gradOut, int batch,
                      int factor, int channels) {
  if (small.kind == Layout::Blocked) std::fill(gradIn, gradIn + small.image() * batch, 0.f);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int c = 0; c < channels; ++c)
      for (int y = 0; y < large.h; ++y)
        for (int x = 0; x < large.w; ++x)
          gradIn[n * small.image() + at(small, (c * factor + y % factor) * factor + x % factor, y / factor,
                                        x / factor)] = gradOut[n * large.image() + at(large, c, y, x)];
}

void forward(const StepView& s) {
  const Step& step = s.step();
  const simd::Kernels& kernels = *s.context().kernels;
  const Layout small = s.inLayout(0), large = s.outLayout();
  const int factor = s.op<PixelShuffle>().factor(), batch = s.batch();
  const float* in = s.in(0);
  float* out = s.out();
  if (s.inValue(0).groups == 1) {
    const int channels = s.outValue().channels;
    if (!copiesTogether(small, large, factor))
      shuffleGeneric(small, in, large, out, batch, factor, channels);
    else if (factor == 2)
      shuffleToThin<2>(small, in, large, out, batch, factor, channels);
    else if (factor == 4)
      shuffleToThin<4>(small, in, large, out, batch, factor, channels);
    else
      shuffleToThin<0>(small, in, large, out, batch, factor, channels);
    activate(kernels, out, step.activation, step.slope, s.outFloats());
    return;
  }
  const float slope = step.activation == ActivationKind::None ? 1.f : step.slope;
  const int64_t rows = int64_t{batch} * large.blocks * small.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int y = static_cast<int>(row % small.h), block = static_cast<int>(row / small.h % large.blocks);
    const int64_t n = row / small.h / large.blocks;
    kernels.shuffleRow(
        {const_cast<float*>(in) + n * small.image(), out + n * large.image(), large.blocks, small.h, small.w, factor},
        block, y, slope);
  }
}

void backward(const StepView& s) {
  const Step& step = s.step();
  const simd::Kernels& kernels = *s.context().kernels;
  const Layout small = s.outLayout(), large = s.inLayout(0);
  const int factor = s.op<PixelShuffle>().factor(), batch = s.batch();
  const float* gradOut = s.in(0);
  const float* activated = step.in.size() > 1 ? s.in(1) : nullptr;
  float* gradIn = s.out();
  if (s.outValue().groups == 1) {
    std::vector<float> gradient;
    if (activated) {
      gradient.resize(static_cast<size_t>(large.image() * batch));
      kernels.leakyBackward(gradient.data(), gradOut, activated, step.slope, static_cast<int64_t>(gradient.size()));
      gradOut = gradient.data();
    }
    const int channels = s.inValue(0).channels;
    if (!copiesTogether(small, large, factor))
      unshuffleGeneric(small, gradIn, large, gradOut, batch, factor, channels);
    else if (factor == 2)
      unshuffleFromThin<2>(small, gradIn, large, gradOut, batch, factor, channels);
    else if (factor == 4)
      unshuffleFromThin<4>(small, gradIn, large, gradOut, batch, factor, channels);
    else
      unshuffleFromThin<0>(small, gradIn, large, gradOut, batch, factor, channels);
    return;
  }
  const int64_t rows = int64_t{batch} * large.blocks * small.h;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; ++row) {
    const int y = static_cast<int>(row % small.h), block = static_cast<int>(row / small.h % large.blocks);
    const int64_t n = row / small.h / large.blocks;
    kernels.unshuffleRow({gradIn + n * small.image(), const_cast<float*>(gradOut) + n * large.image(), large.blocks,
                          small.h, small.w, factor},
                         activated ? activated + n * large.image() : nullptr, block, y, step.slope);
  }
}

}  // namespace

void register_pixel_shuffle(Registry& registry) {
  registry.add(PixelShuffle::kKind, forward);
  registry.add(PixelShuffle::kBackward, backward);
  registry.fuses(PixelShuffle::kKind, [](const Program&, const Step& step) {
    const bool leaky = step.activation == ActivationKind::Relu || step.activation == ActivationKind::LeakyRelu;
    return static_cast<int>(leaky && step.residual < 0 && step.slopes.parameter < 0);
  });
}

}  // namespace wbsr::cpu

#include "cpu/operators.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace wbsr::cpu {
namespace {

// Taps of one output coordinate: half-pixel centres, edges clamped. Bilinear 2 taps, bicubic (a = -0.5) 4.
struct Taps {
  int index[4];
  float weight[4];
};

float cubicWeight(float x) {
  x = std::fabs(x);
  if (x <= 1.f) return (1.5f * x - 2.5f) * x * x + 1.f;
  if (x < 2.f) return ((-0.5f * x + 2.5f) * x - 4.f) * x + 2.f;
  return 0.f;
}

std::vector<Taps> tapsOf(int size, int factor, bool cubic) {
  std::vector<Taps> taps(static_cast<size_t>(size) * factor);
  const int count = cubic ? 4 : 2;
  for (int o = 0; o < size * factor; ++o) {
    const float centre = (o + 0.5f) / factor - 0.5f;
    const int first = static_cast<int>(std::floor(centre)) - (cubic ? 1 : 0);
    for (int t = 0; t < count; ++t) {
      const float distance = centre - (first + t);
      taps[o].index[t] = std::clamp(first + t, 0, size - 1);
      taps[o].weight[t] = cubic ? cubicWeight(distance) : 1.f - std::fabs(distance);
    }
  }
  return taps;
}

}  // namespace

void upsample(const Layout& from, const float* in, float* out, int batch, int factor, bool cubic) {
  const auto rows = tapsOf(from.h, factor, cubic), columns = tapsOf(from.w, factor, cubic);
  const int count = cubic ? 4 : 2, H = from.h * factor, W = from.w * factor, L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < planes; ++p)
    for (int y = 0; y < H; ++y) {
      // Vertical pass into one row, then the horizontal pass.
      std::vector<float> row(static_cast<size_t>(from.w) * L, 0.f);
      for (int t = 0; t < count; ++t) {
        const float weight = rows[y].weight[t];
        const float* source = in + (p * from.h + rows[y].index[t]) * from.w * L;
        for (int i = 0; i < from.w * L; ++i) row[i] += weight * source[i];
      }
      float* to = out + (p * H + y) * int64_t{W} * L;
      if (L == 1) {
        for (int x = 0; x < W; ++x) {
          const Taps& taps = columns[x];
          float sum = taps.weight[0] * row[taps.index[0]] + taps.weight[1] * row[taps.index[1]];
          if (cubic) sum += taps.weight[2] * row[taps.index[2]] + taps.weight[3] * row[taps.index[3]];
          to[x] = sum;
        }
      } else {
        for (int x = 0; x < W; ++x)
          for (int l = 0; l < L; ++l) {
            float sum = 0.f;
            for (int t = 0; t < count; ++t) sum += columns[x].weight[t] * row[columns[x].index[t] * L + l];
            to[x * L + l] = sum;
          }
      }
    }
}

void upsampleBackward(const Layout& from, const float* gradOut, float* gradIn, int batch, int factor, bool cubic) {
  const auto rows = tapsOf(from.h, factor, cubic), columns = tapsOf(from.w, factor, cubic);
  const int count = cubic ? 4 : 2, H = from.h * factor, W = from.w * factor, L = from.lanes;
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < planes; ++p) {
    float* to = gradIn + p * from.h * from.w * L;
    std::fill(to, to + int64_t{from.h} * from.w * L, 0.f);
    std::vector<float> row(static_cast<size_t>(from.w) * L);
    for (int y = 0; y < H; ++y) {
      std::fill(row.begin(), row.end(), 0.f);
      const float* source = gradOut + (p * H + y) * int64_t{W} * L;
      for (int x = 0; x < W; ++x)
        for (int t = 0; t < count; ++t)
          for (int l = 0; l < L; ++l) row[columns[x].index[t] * L + l] += columns[x].weight[t] * source[x * L + l];
      for (int t = 0; t < count; ++t) {
        float* target = to + int64_t{rows[y].index[t]} * from.w * L;
        for (int i = 0; i < from.w * L; ++i) target[i] += rows[y].weight[t] * row[i];
      }
    }
  }
}

void crop(const Layout& from, const float* in, const Layout& to, float* out, int batch, int x, int y) {
  const int64_t planes = int64_t{batch} * from.planes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int64_t p = 0; p < planes; ++p)
    for (int row = 0; row < to.h; ++row)
      std::memcpy(out + (p * to.h + row) * to.w * to.lanes, in + ((p * from.h + y + row) * from.w + x) * from.lanes,
                  sizeof(float) * to.w * to.lanes);
}

void globalPool(const Layout& from, const float* in, float* out, int batch, int channels) {
  const int64_t pixels = int64_t{from.h} * from.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * from.planes; ++p) {
    const int n = static_cast<int>(p / from.planes), first = static_cast<int>(p % from.planes) * from.lanes;
    double sum[16] = {};
    const float* plane = in + p * pixels * from.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < from.lanes; ++l) sum[l] += plane[i * from.lanes + l];
    for (int l = 0; l < from.lanes && first + l < channels; ++l)
      out[int64_t{n} * channels + first + l] = static_cast<float>(sum[l] / static_cast<double>(pixels));
  }
}

void globalPoolBackward(const Layout& to, const float* gradOut, float* gradIn, int batch, int channels) {
  const int64_t pixels = int64_t{to.h} * to.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * to.planes; ++p) {
    const int n = static_cast<int>(p / to.planes), first = static_cast<int>(p % to.planes) * to.lanes;
    float share[16] = {};
    for (int l = 0; l < to.lanes && first + l < channels; ++l)
      share[l] = gradOut[int64_t{n} * channels + first + l] / static_cast<float>(pixels);
    float* plane = gradIn + p * pixels * to.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < to.lanes; ++l) plane[i * to.lanes + l] = share[l];
  }
}

void scaleChannels(const Layout& layout, const float* in, const float* factors, float* out, int batch, int channels) {
  const int64_t pixels = int64_t{layout.h} * layout.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * layout.planes; ++p) {
    const int n = static_cast<int>(p / layout.planes), first = static_cast<int>(p % layout.planes) * layout.lanes;
    float factor[16] = {};
    for (int l = 0; l < layout.lanes && first + l < channels; ++l)
      factor[l] = factors[int64_t{n} * channels + first + l];
    const float* from = in + p * pixels * layout.lanes;
    float* to = out + p * pixels * layout.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < layout.lanes; ++l) to[i * layout.lanes + l] = from[i * layout.lanes + l] * factor[l];
  }
}

void scaleChannelsBackwardFactors(const Layout& layout, const float* gradOut, const float* in, float* gradFactors,
                                  int batch, int channels) {
  const int64_t pixels = int64_t{layout.h} * layout.w;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < int64_t{batch} * layout.planes; ++p) {
    const int n = static_cast<int>(p / layout.planes), first = static_cast<int>(p % layout.planes) * layout.lanes;
    double sum[16] = {};
    const float* g = gradOut + p * pixels * layout.lanes;
    const float* x = in + p * pixels * layout.lanes;
    for (int64_t i = 0; i < pixels; ++i)
      for (int l = 0; l < layout.lanes; ++l)
        sum[l] += static_cast<double>(g[i * layout.lanes + l]) * x[i * layout.lanes + l];
    for (int l = 0; l < layout.lanes && first + l < channels; ++l)
      gradFactors[int64_t{n} * channels + first + l] = static_cast<float>(sum[l]);
  }
}

void sigmoid(float* x, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4096)
  for (int64_t i = 0; i < n; ++i) x[i] = 1.f / (1.f + std::exp(-x[i]));
}

void sigmoidBackward(float* dx, const float* dy, const float* y, int64_t n) {
#pragma omp parallel for schedule(static) if (n > 4096)
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * y[i] * (1.f - y[i]);
}

namespace {

// Where channel c of pixel (y, x) lies inside one batch item.
inline int64_t at(const Layout& l, int c, int y, int x) {
  return ((int64_t{c / l.lanes} * l.h + y) * l.w + x) * l.lanes + c % l.lanes;
}

}  // namespace

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

void plainConv(const PlainConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out) {
  const int pad = c.k / 2;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < c.batch; ++n)
    for (int o = 0; o < c.outC; ++o)
      for (int y = 0; y < c.h; ++y)
        for (int x = 0; x < c.w; ++x) {
          float sum = bias ? bias[o] : 0.f;
          for (int i = 0; i < c.inC; ++i)
            for (int ky = std::max(0, pad - y); ky < std::min(c.k, c.h + pad - y); ++ky)
              for (int kx = std::max(0, pad - x); kx < std::min(c.k, c.w + pad - x); ++kx)
                sum += weight[((int64_t{o} * c.inC + i) * c.k + ky) * c.k + kx] *
                       in[((int64_t{n} * c.inC + i) * c.h + y + ky - pad) * c.w + x + kx - pad];
          const int64_t to = ((int64_t{n} * c.outC + o) * c.h + y) * c.w + x;
          out[to] = residual ? sum + residual[to] : sum;
        }
}

void plainConvBackwardData(const PlainConv& c, const float* gradOut, const float* weight, float* gradIn) {
  const int pad = c.k / 2;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < c.batch; ++n)
    for (int i = 0; i < c.inC; ++i)
      for (int y = 0; y < c.h; ++y)
        for (int x = 0; x < c.w; ++x) {
          float sum = 0.f;
          for (int o = 0; o < c.outC; ++o)
            for (int ky = 0; ky < c.k; ++ky)
              for (int kx = 0; kx < c.k; ++kx) {
                const int yo = y - ky + pad, xo = x - kx + pad;
                if (yo < 0 || yo >= c.h || xo < 0 || xo >= c.w) continue;
                sum += weight[((int64_t{o} * c.inC + i) * c.k + ky) * c.k + kx] *
                       gradOut[((int64_t{n} * c.outC + o) * c.h + yo) * c.w + xo];
              }
          gradIn[((int64_t{n} * c.inC + i) * c.h + y) * c.w + x] = sum;
        }
}

void plainConvBackwardWeights(const PlainConv& c, const float* in, const float* gradOut, float* gradWeight,
                              float* gradBias) {
  const int pad = c.k / 2;
#pragma omp parallel for schedule(static)
  for (int o = 0; o < c.outC; ++o) {
    double total = 0;
    for (int n = 0; n < c.batch; ++n)
      for (int64_t p = 0; p < int64_t{c.h} * c.w; ++p) total += gradOut[(int64_t{n} * c.outC + o) * c.h * c.w + p];
    if (gradBias) gradBias[o] = static_cast<float>(total);
    for (int i = 0; i < c.inC; ++i)
      for (int ky = 0; ky < c.k; ++ky)
        for (int kx = 0; kx < c.k; ++kx) {
          double sum = 0;
          for (int n = 0; n < c.batch; ++n)
            for (int y = std::max(0, pad - ky); y < std::min(c.h, c.h + pad - ky); ++y)
              for (int x = std::max(0, pad - kx); x < std::min(c.w, c.w + pad - kx); ++x)
                sum += static_cast<double>(in[((int64_t{n} * c.inC + i) * c.h + y + ky - pad) * c.w + x + kx - pad]) *
                       gradOut[((int64_t{n} * c.outC + o) * c.h + y) * c.w + x];
          gradWeight[((int64_t{o} * c.inC + i) * c.k + ky) * c.k + kx] = static_cast<float>(sum);
        }
  }
}

}  // namespace wbsr::cpu

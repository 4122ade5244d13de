#include "cpu/plain_conv.h"

#include <algorithm>

#include "cpu/planes.h"

namespace wbsr::cpu {
namespace {

// Channels of the input that output o reads: [first, last).
struct Inputs {
  int first, last;
};
Inputs inputsOf(const PlainConv& c, int o) { return c.depthwise ? Inputs{o, o + 1} : Inputs{0, c.inC}; }

// The filter of output o for input channel i.
int64_t filterAt(const PlainConv& c, int o, int i) {
  return (c.depthwise ? int64_t{o} : int64_t{o} * c.inC + i) * c.k * c.k;
}

// Taps of output coordinate `out` that lie inside 0 .. size - 1: [first, last).
struct Taps {
  int first, last;
};
Taps tapsAt(const PlainConv& c, int out, int size) {
  const int from = out * c.stride - c.padding;
  return {std::max(0, -from), std::min(c.k, size - from)};
}

}  // namespace

void plainConv(const PlainConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out) {
  const int L = c.from.lanes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < c.batch; ++n)
    for (int o = 0; o < c.outC; ++o)
      for (int y = 0; y < c.to.h; ++y)
        for (int x = 0; x < c.to.w; ++x) {
          float sum = bias ? bias[o] : 0.f;
          const Taps rows = tapsAt(c, y, c.from.h), columns = tapsAt(c, x, c.from.w);
          for (int i = inputsOf(c, o).first; i < inputsOf(c, o).last; ++i) {
            const float* filter = weight + filterAt(c, o, i);
            const float* plane = in + n * c.from.image() + placeOf(c.from, i, 0, 0);
            for (int ky = rows.first; ky < rows.last; ++ky)
              for (int kx = columns.first; kx < columns.last; ++kx)
                sum += filter[ky * c.k + kx] *
                       plane[(int64_t{y * c.stride - c.padding + ky} * c.from.w + x * c.stride - c.padding + kx) * L];
          }
          const int64_t to = n * c.to.image() + placeOf(c.to, o, y, x);
          out[to] = residual ? sum + residual[to] : sum;
        }
}

void plainConvBackwardData(const PlainConv& c, const float* gradOut, const float* weight, float* gradIn) {
  const int L = c.to.lanes;
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < c.batch; ++n)
    for (int i = 0; i < c.inC; ++i)
      for (int y = 0; y < c.from.h; ++y)
        for (int x = 0; x < c.from.w; ++x) {
          float sum = 0.f;
          const int first = c.depthwise ? i : 0, last = c.depthwise ? i + 1 : c.outC;
          for (int o = first; o < last; ++o) {
            const float* filter = weight + filterAt(c, o, i);
            const float* plane = gradOut + n * c.to.image() + placeOf(c.to, o, 0, 0);
            for (int ky = 0; ky < c.k; ++ky)
              for (int kx = 0; kx < c.k; ++kx) {
                const int yo = y - ky + c.padding, xo = x - kx + c.padding;
                if (yo < 0 || xo < 0 || yo % c.stride || xo % c.stride) continue;
                if (yo / c.stride >= c.to.h || xo / c.stride >= c.to.w) continue;
                sum += filter[ky * c.k + kx] * plane[(int64_t{yo / c.stride} * c.to.w + xo / c.stride) * L];
              }
          }
          gradIn[n * c.from.image() + placeOf(c.from, i, y, x)] = sum;
        }
}

void plainConvBackwardWeights(const PlainConv& c, const float* in, const float* gradOut, float* gradWeight,
                              float* gradBias) {
#pragma omp parallel for schedule(static)
  for (int o = 0; o < c.outC; ++o) {
    double total = 0;
    for (int n = 0; n < c.batch; ++n) {
      const float* plane = gradOut + n * c.to.image() + placeOf(c.to, o, 0, 0);
      for (int64_t p = 0; p < int64_t{c.to.h} * c.to.w; ++p) total += plane[p * c.to.lanes];
    }
    if (gradBias) gradBias[o] = static_cast<float>(total);
    for (int i = inputsOf(c, o).first; i < inputsOf(c, o).last; ++i)
      for (int ky = 0; ky < c.k; ++ky)
        for (int kx = 0; kx < c.k; ++kx) {
          double sum = 0;
          for (int n = 0; n < c.batch; ++n) {
            const float* source = in + n * c.from.image() + placeOf(c.from, i, 0, 0);
            const float* gradient = gradOut + n * c.to.image() + placeOf(c.to, o, 0, 0);
            for (int y = 0; y < c.to.h; ++y)
              for (int x = 0; x < c.to.w; ++x) {
                const int yi = y * c.stride - c.padding + ky, xi = x * c.stride - c.padding + kx;
                if (yi < 0 || yi >= c.from.h || xi < 0 || xi >= c.from.w) continue;
                sum += static_cast<double>(source[(int64_t{yi} * c.from.w + xi) * c.from.lanes]) *
                       gradient[(int64_t{y} * c.to.w + x) * c.to.lanes];
              }
          }
          gradWeight[filterAt(c, o, i) + ky * c.k + kx] = static_cast<float>(sum);
        }
  }
}

}  // namespace wbsr::cpu

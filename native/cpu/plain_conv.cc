#include "cpu/plain_conv.h"

#include <algorithm>

namespace wbsr::cpu {

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

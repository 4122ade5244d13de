// Every set of CPU kernels that this processor can run (AVX-512, AVX2 and the baseline, or NEON) against plain loops, at sizes around
// the vector width. Prints what failed; exits 1 if anything did.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "core/instruction_set.h"
#include "cpu/simd/kernels.h"
#include "support/own_kernels.h"

using namespace wbsr::simd;
using wbsr::test::check;
using wbsr::test::noise;

namespace {

bool near(float a, float b) { return std::fabs(a - b) <= 2e-5f * (1 + std::fabs(b)); }

void elementwise(const Kernels& k, int64_t n) {
  const std::string at = std::string(k.name) + " n " + std::to_string(n);
  const auto a = noise(static_cast<size_t>(n), 1), b = noise(static_cast<size_t>(n), 2);
  std::vector<float> sum(a.size()), leaky = a, back(a.size());
  k.add(sum.data(), a.data(), b.data(), n);
  k.leaky(leaky.data(), 0.1f, n);
  k.leakyBackward(back.data(), b.data(), a.data(), 0.1f, n);
  bool ok = true;
  for (size_t i = 0; i < a.size(); ++i)
    ok = ok && sum[i] == a[i] + b[i] && leaky[i] == (a[i] > 0 ? a[i] : a[i] * 0.1f) &&
         back[i] == (a[i] > 0 ? b[i] : b[i] * 0.1f);
  check(ok, "elementwise " + at);
  std::vector<float> rgb(3 * a.size(), 0.5f), total(a.size(), 0.25f);
  k.blendRow(a.data(), b.data(), a.data(), b.data(), 0.5f, rgb.data(), total.data(), n);
  ok = true;
  for (size_t i = 0; i < a.size(); ++i)
    ok = ok && near(rgb[3 * i], 0.5f + a[i] * b[i] * 0.5f) && near(rgb[3 * i + 1], 0.5f + b[i] * b[i] * 0.5f) &&
         near(total[i], 0.25f + b[i] * 0.5f);
  check(ok, "blend " + at);
}

void thin(const Kernels& k, int h, int w, int kernel, int outputs, int blocks, float slope) {
  const int L = k.lanes, pad = kernel / 2;
  const std::string at = std::string(k.name) + " " + std::to_string(h) + "x" + std::to_string(w) + " k" +
                         std::to_string(kernel) + " to " + std::to_string(outputs);
  const size_t plane = static_cast<size_t>(h) * w;
  const auto in = noise(plane * blocks * L, 3),
             weights = noise(static_cast<size_t>(kernel) * kernel * blocks * outputs * L, 4);
  const auto bias = noise(static_cast<size_t>(outputs), 5), residual = noise(plane * outputs, 6);
  std::vector<float> out(plane * outputs, NAN);
  for (int y = 0; y < h; ++y)
    k.thinForwardRow(
        {in.data(), weights.data(), bias.data(), residual.data(), out.data(), blocks, h, w, kernel, outputs, slope}, y);
  bool ok = true;
  for (int o = 0; o < outputs; ++o)
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x) {
        double sum = static_cast<double>(bias[o]) + residual[(static_cast<size_t>(o) * h + y) * w + x];
        for (int ky = 0; ky < kernel; ++ky)
          for (int kx = 0; kx < kernel; ++kx) {
            const int yy = y + ky - pad, xx = x + kx - pad;
            if (yy < 0 || yy >= h || xx < 0 || xx >= w) continue;
            for (int b = 0; b < blocks; ++b)
              for (int l = 0; l < L; ++l) {
                double v = in[((static_cast<size_t>(b) * h + yy) * w + xx) * L + l];
                if (v < 0) v *= slope;
                sum += v * weights[(((static_cast<size_t>(ky) * kernel + kx) * blocks + b) * outputs + o) * L + l];
              }
          }
        ok = ok && near(out[(static_cast<size_t>(o) * h + y) * w + x], static_cast<float>(sum));
      }
  check(ok, "thin forward " + at);

  // Weight gradient of the first block.
  const int stride = w + kernel - 1;
  const size_t padded = static_cast<size_t>(stride) * (h + kernel - 1);
  std::vector<float> gradient(padded * outputs, 0.f), result(static_cast<size_t>(kernel) * kernel * outputs * L, NAN);
  for (int o = 0; o < outputs; ++o)
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x)
        gradient[o * padded + static_cast<size_t>(y + pad) * stride + x + pad] =
            residual[(static_cast<size_t>(o) * h + y) * w + x];
  k.thinWeights({in.data(), gradient.data(), result.data(), h, w, kernel, outputs});
  ok = true;
  for (int ky = 0; ky < kernel; ++ky)
    for (int kx = 0; kx < kernel; ++kx)
      for (int o = 0; o < outputs; ++o)
        for (int l = 0; l < L; ++l) {
          double sum = 0;
          for (int y = 0; y < h; ++y)
            for (int x = 0; x < w; ++x) {
              const int yy = y + ky - pad, xx = x + kx - pad;
              if (yy >= 0 && yy < h && xx >= 0 && xx < w)
                sum += static_cast<double>(in[(static_cast<size_t>(yy) * w + xx) * L + l]) *
                       residual[(static_cast<size_t>(o) * h + y) * w + x];
            }
          ok = ok &&
               near(result[((static_cast<size_t>(ky) * kernel + kx) * outputs + o) * L + l], static_cast<float>(sum));
        }
  check(ok, "thin weights " + at);
}

void shuffle(const Kernels& k, int h, int w, int r, int blocks) {
  const int L = k.lanes;
  const std::string at =
      std::string(k.name) + " shuffle " + std::to_string(h) + "x" + std::to_string(w) + " r" + std::to_string(r);
  const size_t count = static_cast<size_t>(r) * r * blocks * h * w * L;
  auto small = noise(count, 7);
  std::vector<float> large(count, NAN), back(count, NAN);
  for (int b = 0; b < blocks; ++b)
    for (int y = 0; y < h; ++y) k.shuffleRow({small.data(), large.data(), blocks, h, w, r}, b, y, 0.1f);
  for (int b = 0; b < blocks; ++b)
    for (int y = 0; y < h; ++y) k.unshuffleRow({back.data(), large.data(), blocks, h, w, r}, large.data(), b, y, 0.1f);
  bool ok = true;
  for (int b = 0; b < blocks; ++b)
    for (int y = 0; y < h * r; ++y)
      for (int x = 0; x < w * r; ++x)
        for (int l = 0; l < L; ++l) {
          const int s = (y % r) * r + x % r;
          const size_t from = ((static_cast<size_t>(s * blocks + b) * h + y / r) * w + x / r) * L + l;
          const float value = large[((static_cast<size_t>(b) * h * r + y) * w * r + x) * L + l];
          ok = ok && value == (small[from] > 0 ? small[from] : small[from] * 0.1f) &&
               back[from] == (value > 0 ? value : value * 0.1f);
        }
  check(ok, at);
}

}  // namespace

int main() {
#if defined(__aarch64__)
  const std::vector<const Kernels*> sets{neonKernels()};
#else
  std::vector<const Kernels*> sets{baseKernels()};
#if defined(__x86_64__)
  const wbsr::InstructionSet best = wbsr::instructionSet();
  if (best != wbsr::InstructionSet::Base) sets.push_back(avx2Kernels());
  if (best == wbsr::InstructionSet::Avx512) sets.push_back(avx512Kernels());
#endif
#endif
  for (const Kernels* k : sets) {
    for (int64_t n : {0, 1, 7, 16, 33}) elementwise(*k, n);
    for (int outputs = 1; outputs <= 7; ++outputs) thin(*k, 3, 19, 3, outputs, 2, outputs % 2 ? 1.f : 0.1f);
    thin(*k, 1, 1, 3, 3, 1, 1.f);
    thin(*k, 5, 2, 9, 3, 1, 1.f);
    thin(*k, 4, 8, 1, 3, 2, 0.f);
    thin(*k, 2, 11, 5, 3, 1, 1.f);
    for (int r : {1, 2, 3}) shuffle(*k, 3, 5, r, 2);
  }
  return wbsr::test::finish();
}

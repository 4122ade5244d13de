// PSNR and SSIM by the conventions of the field (protocol.md).
#include <cmath>
#include <limits>
#include <vector>

#include "core/instruction_set.h"
#include "core/math/colour.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

// Sum of squared differences of one row.
WBSR_INLINE int64_t squaredDifference(const uint8_t* a, const uint8_t* b, int n) {
  int64_t total = 0;
  for (int from = 0; from < n; from += 16384) {  // 255^2 * 16384 fits in 32 bits
    const int to = n - from < 16384 ? n : from + 16384;
    int32_t sum = 0;
    for (int i = from; i < to; ++i) {
      const int d = a[i] - b[i];
      sum += d * d;
    }
    total += sum;
  }
  return total;
}

double squaredLumaDifference(const uint8_t* a, const uint8_t* b, int pixels) {
  double sum = 0;
  for (int i = 0; i < 3 * pixels; i += 3) {
    const double d = math::studioLuma(a[i] - b[i], a[i + 1] - b[i + 1], a[i + 2] - b[i + 2]);
    sum += d * d;
  }
  return sum;
}

// One plane (height, width) to compare: a channel, or Y.
std::vector<double> plane(const uint8_t* image, int width, int height, int channels, int channel, bool y, int shave) {
  const int w = width - 2 * shave, h = height - 2 * shave;
  std::vector<double> out(static_cast<size_t>(w) * h);
  for (int j = 0; j < h; ++j) {
    const uint8_t* row = image + (static_cast<size_t>(j + shave) * width + shave) * channels;
    double* o = &out[static_cast<size_t>(j) * w];
    for (int i = 0; i < w; ++i, row += channels)
      o[i] = y && channels == 3 ? 16 + math::studioLuma(row[0], row[1], row[2]) : row[channel];
  }
  return out;
}

constexpr int kWindow = 11;
constexpr double kC1 = (0.01 * 255) * (0.01 * 255), kC2 = (0.03 * 255) * (0.03 * 255);

struct Gaussian {
  double weight[kWindow];
  Gaussian() {
    double sum = 0;
    for (int i = 0; i < kWindow; ++i) sum += weight[i] = std::exp(-(i - 5) * (i - 5) / (2 * 1.5 * 1.5));
    for (double& w : weight) w /= sum;
  }
};

// out (n): weighted sums of eleven neighbours along the row.
WBSR_INLINE void blurRow(const double* __restrict in, int n, const double* weight, double* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = weight[0] * in[i];
  for (int k = 1; k < kWindow; k += 2) {
    const double u = weight[k], v = weight[k + 1];
    for (int i = 0; i < n; ++i) out[i] += u * in[i + k] + v * in[i + k + 1];
  }
}

// Sum of the SSIM map over one output row, whose windows start at rows a and b. buffer (8, width). The two variances
// are only needed as their sum.
WBSR_INLINE double ssimRow(const double* a, const double* b, int width, const double* weight, double* buffer) {
  double *meanA = buffer, *meanB = meanA + width, *squares = meanB + width, *product = squares + width;
  for (int i = 0; i < 4 * width; ++i) buffer[i] = 0;
  for (int k = 0; k < kWindow; ++k, a += width, b += width) {
    const double w = weight[k];
#pragma GCC ivdep
    for (int i = 0; i < width; ++i) {
      const double u = a[i] * w, v = b[i] * w;
      meanA[i] += u;
      meanB[i] += v;
      squares[i] += u * a[i] + v * b[i];
      product[i] += u * b[i];
    }
  }
  const int n = width - kWindow + 1;
  double *xs = product + width, *ys = xs + width, *ss = ys + width, *ps = ss + width;
  blurRow(meanA, n, weight, xs);
  blurRow(meanB, n, weight, ys);
  blurRow(squares, n, weight, ss);
  blurRow(product, n, weight, ps);
#pragma GCC ivdep
  for (int i = 0; i < n; ++i) {
    const double xy = xs[i] * ys[i], xx = xs[i] * xs[i] + ys[i] * ys[i];
    ps[i] = (2 * xy + kC1) * (2 * (ps[i] - xy) + kC2) / ((xx + kC1) * (ss[i] - xx + kC2));
  }
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += ps[i];
  return sum;
}

}  // namespace

double psnr(const uint8_t* a, const uint8_t* b, int width, int height, int channels, bool y, int shave) {
  const int w = width - 2 * shave, h = height - 2 * shave;
  const bool luma = y && channels == 3;
  double sum = 0;
  for (int j = 0; j < h; ++j) {
    const size_t from = (static_cast<size_t>(j + shave) * width + shave) * channels;
    sum += luma ? squaredLumaDifference(a + from, b + from, w)
                : static_cast<double>(perInstructionSet<squaredDifference>(a + from, b + from, w * channels));
  }
  const double mse = sum / (static_cast<double>(w) * h * (luma ? 1 : channels));
  return mse == 0 ? std::numeric_limits<double>::infinity() : 20 * std::log10(255 / std::sqrt(mse));
}

double ssim(const uint8_t* a, const uint8_t* b, int width, int height, int channels, bool y, int shave) {
  static const Gaussian gaussian;
  const int w = width - 2 * shave, h = height - 2 * shave, rows = h - kWindow + 1;
  const int planes = y ? 1 : channels;
  std::vector<double> sums(rows);
  double total = 0;
  for (int p = 0; p < planes; ++p) {
    const std::vector<double> pa = plane(a, width, height, channels, p, y, shave);
    const std::vector<double> pb = plane(b, width, height, channels, p, y, shave);
#pragma omp parallel if (static_cast <int64_t>(w) * h > 1 << 17)
    {
      std::vector<double> buffer(static_cast<size_t>(w) * 8);
#pragma omp for schedule(static)
      for (int j = 0; j < rows; ++j)
        sums[j] = perInstructionSet<ssimRow>(&pa[static_cast<size_t>(j) * w], &pb[static_cast<size_t>(j) * w], w,
                                             gaussian.weight, buffer.data());
    }
    for (double s : sums) total += s;  // in order: the same for any number of threads
  }
  return total / (static_cast<double>(planes) * rows * (w - kWindow + 1));
}

}  // namespace wbsr::image

// Gradient vectors of many rectangles of one picture, for the sampler and the router (method.md 2).
#include <algorithm>
#include <vector>

#include "core/instruction_set.h"
#include "core/math/colour.h"
#include "core/math/gradient.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

// out (n) luma in [0, 1] of pixels that are already float RGB.
WBSR_INLINE void lumaOfRgb(const float* __restrict rgb, int n, float* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = math::luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]);
}

WBSR_INLINE void lumaOfBytes(const uint8_t* __restrict rgb, int n, float* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = math::luma(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]) * (1.f / 255.f);
}

// The luma of grey is the grey value; summing three equal parts would only add rounding errors.
void lumaRow(const View& in, int x, int y, int n, float* buffer, float* out) {
  const size_t from = (static_cast<size_t>(y) * in.width + x) * in.channels;
  if (in.channels == 3 && in.type == Sample::U8)
    return perInstructionSet<lumaOfBytes>(static_cast<const uint8_t*>(in.data) + from, n, out);
  if (in.channels == 3 && in.type == Sample::F32)
    return perInstructionSet<lumaOfRgb>(static_cast<const float*>(in.data) + from, n, out);
  const View row{static_cast<const char*>(in.data) + from * sampleBytes(in.type), in.type, n, 1, in.channels};
  toRgbFloat(row, buffer);
  if (in.channels >= 3) return perInstructionSet<lumaOfRgb>(static_cast<const float*>(buffer), n, out);
  for (int i = 0; i < n; ++i) out[i] = buffer[3 * i];
}

// Adds one row's |Gx|, |Gy| and their squares. above, here, below: luma rows, one pixel wider at each side.
// Sums run in 8 lanes, so that they need no reordering to be vectorised.
WBSR_INLINE void gradientRow(const float* above, const float* here, const float* below, int n,
                             math::GradientSums* sums) {
  constexpr int kLanes = 8;
  double x[kLanes] = {}, xx[kLanes] = {}, y[kLanes] = {}, yy[kLanes] = {};
  for (int from = 0; from < n; from += kLanes) {
    const float *a = above + from, *h = here + from, *b = below + from;
    float gx[kLanes], gy[kLanes];
    const int count = n - from < kLanes ? n - from : kLanes;
    if (count == kLanes) {
      for (int i = 0; i < kLanes; ++i) {
        gx[i] = std::fabs(math::sobelX(a[i], a[i + 2], h[i], h[i + 2], b[i], b[i + 2]));
        gy[i] = std::fabs(math::sobelY(a[i], a[i + 1], a[i + 2], b[i], b[i + 1], b[i + 2]));
      }
    } else {
      for (int i = 0; i < kLanes; ++i) gx[i] = gy[i] = 0;
      for (int i = 0; i < count; ++i) {
        gx[i] = std::fabs(math::sobelX(a[i], a[i + 2], h[i], h[i + 2], b[i], b[i + 2]));
        gy[i] = std::fabs(math::sobelY(a[i], a[i + 1], a[i + 2], b[i], b[i + 1], b[i + 2]));
      }
    }
    for (int i = 0; i < kLanes; ++i) {
      const double u = gx[i], v = gy[i];
      x[i] += u;
      xx[i] += u * u;
      y[i] += v;
      yy[i] += v * v;
    }
  }
  for (int i = 0; i < kLanes; ++i) {
    sums->x += x[i];
    sums->xx += xx[i];
    sums->y += y[i];
    sums->yy += yy[i];
  }
}

void gradientOfRect(const View& in, const int32_t* rect, std::vector<float>& buffer, double* vector) {
  const int x0 = rect[0], y0 = rect[1], w = rect[2], h = rect[3];
  const size_t stride = static_cast<size_t>(w) + 2;
  buffer.resize(stride * 3 + static_cast<size_t>(w) * 3);
  float* rgb = buffer.data() + stride * 3;
  const auto row = [&](int y) { return buffer.data() + stride * (y % 3); };
  const auto fill = [&](int y) {
    float* r = row(y);
    lumaRow(in, x0, y0 + y, w, rgb, r + 1);
    r[0] = r[1];
    r[w + 1] = r[w];
  };
  math::GradientSums sums;
  fill(0);
  for (int y = 0; y < h; ++y) {
    if (y + 1 < h) fill(y + 1);
    perInstructionSet<gradientRow>(row(y > 0 ? y - 1 : 0), row(y), row(y + 1 < h ? y + 1 : y), w, &sums);
  }
  math::gradientVector(sums, static_cast<double>(w) * h, vector);
}

}  // namespace

void gradientVectors(const View& in, const int32_t* rects, int count, double* vectors) {
  int64_t area = 0;
  for (int i = 0; i < count; ++i) area += static_cast<int64_t>(rects[4 * i + 2]) * rects[4 * i + 3];
#pragma omp parallel if (area > 1 << 20)
  {
    std::vector<float> buffer;
#pragma omp for schedule(dynamic, 16)
    for (int i = 0; i < count; ++i) gradientOfRect(in, rects + 4 * i, buffer, vectors + 4 * i);
  }
}

}  // namespace wbsr::image

// The borders of inference: stored samples -> float RGB, blended sums -> stored samples.
#include <algorithm>
#include <cmath>

#include "core/math/colour.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

// One sample step. Multiplying by it instead of dividing is at most one rounding off, far below half a step, so that
// every sample comes back from float as it was.
template <class T>
constexpr float kUnit = sizeof(T) == 1 ? 1.f / 255.f
                      : sizeof(T) == 2 ? 1.f / 65535.f
                                       : 1.f;

template <class T>
WBSR_INLINE void colourOf(const T* __restrict in, size_t pixels, int channels, float* __restrict out) {
  constexpr float unit = kUnit<T>;
  if (channels == 3) {
    for (size_t i = 0; i < pixels * 3; ++i) out[i] = static_cast<float>(in[i]) * unit;
  } else if (channels == 1) {
    for (size_t i = 0; i < pixels; ++i) {
      const float v = static_cast<float>(in[i]) * unit;
      out[3 * i] = v, out[3 * i + 1] = v, out[3 * i + 2] = v;
    }
  } else if (channels == 4) {
    for (size_t i = 0; i < pixels; ++i) {
      const float a = static_cast<float>(in[4 * i + 3]) * unit;
      for (int c = 0; c < 3; ++c) out[3 * i + c] = static_cast<float>(in[4 * i + c]) * unit * a;
    }
  } else {
    for (size_t i = 0; i < pixels; ++i) {
      const float v = static_cast<float>(in[2 * i]) * unit * (static_cast<float>(in[2 * i + 1]) * unit);
      out[3 * i] = v, out[3 * i + 1] = v, out[3 * i + 2] = v;
    }
  }
}

WBSR_CLONES void colour(const uint8_t* in, size_t pixels, int channels, float* out) {
  colourOf(in, pixels, channels, out);
}
WBSR_CLONES void colour(const uint16_t* in, size_t pixels, int channels, float* out) {
  colourOf(in, pixels, channels, out);
}
WBSR_CLONES void colour(const float* in, size_t pixels, int channels, float* out) {
  colourOf(in, pixels, channels, out);
}

template <class T>
void alphaOf(const T* in, size_t pixels, int channels, float* out) {
  for (size_t i = 0; i < pixels; ++i) out[i] = static_cast<float>(in[i * channels + channels - 1]) * kUnit<T>;
}

// Pixels at a time: their buffers stay in the first-level cache.
constexpr int kBlock = 512;

// [0, 1] -> samples, half up; floats are only clamped.
template <class T>
WBSR_INLINE void storeSamples(const float* __restrict values, int n, T* __restrict out) {
  for (int i = 0; i < n; ++i) {
    if constexpr (sizeof(T) == 4) {
      const float low = values[i] > 0.f ? values[i] : 0.f;
      out[i] = low < 1.f ? low : 1.f;
    } else {
      out[i] = static_cast<T>(math::quantise(values[i], sizeof(T) == 1 ? 255.f : 65535.f));
    }
  }
}

// rgb (n, 3) of one block divided by weight (n), which is 1 nearly everywhere: then rgb itself is returned.
WBSR_INLINE const float* divided(const float* __restrict rgb, const float* __restrict weight, int n,
                                 float* __restrict buffer) {
  if (weight == nullptr) return rgb;
  int blended = 0;
  for (int i = 0; i < n; ++i) blended |= weight[i] != 1.f;
  if (!blended) return rgb;
  for (int i = 0; i < n; ++i) {
    const float w = weight[i] > 0.f ? weight[i] : 1.f;
    for (int c = 0; c < 3; ++c) buffer[3 * i + c] = rgb[3 * i + c] / w;
  }
  return buffer;
}

template <class T>
WBSR_INLINE void finishBlock(const float* rgb, const float* weight, const float* alpha, int n, int channels,
                             float* buffer, T* out) {
  const float* colour = divided(rgb, weight, n, buffer);
  if (channels == 3) return storeSamples(colour, n * 3, out);
  if (channels == 1) {
    float grey[kBlock];
    for (int i = 0; i < n; ++i) grey[i] = math::luma(colour[3 * i], colour[3 * i + 1], colour[3 * i + 2]);
    return storeSamples(grey, n, out);
  }
  float pixels[kBlock * 4];
  for (int i = 0; i < n; ++i) {
    // Where alpha is stored as 0 its colour is noise that nobody sees: 0.
    const float a = alpha[i];
    const bool visible = sizeof(T) == 4 ? a > 0.f : math::quantise(a, sizeof(T) == 1 ? 255.f : 65535.f) > 0;
    const float factor = visible ? 1.f / (a < 1.f ? a : 1.f) : 0.f;
    const float r = colour[3 * i] * factor, g = colour[3 * i + 1] * factor, b = colour[3 * i + 2] * factor;
    if (channels == 2) {
      pixels[2 * i] = math::luma(r, g, b), pixels[2 * i + 1] = a;
    } else {
      pixels[4 * i] = r, pixels[4 * i + 1] = g, pixels[4 * i + 2] = b, pixels[4 * i + 3] = a;
    }
  }
  storeSamples(pixels, n * channels, out);
}

#define WBSR_FINISH(T)                                                                                              \
  WBSR_CLONES void finish(const float* rgb, const float* weight, const float* alpha, int n, int channels, T* out) { \
    float buffer[kBlock * 3];                                                                                       \
    finishBlock<T>(rgb, weight, alpha, n, channels, buffer, out);                                                   \
  }
WBSR_FINISH(uint8_t)
WBSR_FINISH(uint16_t)
WBSR_FINISH(float)
#undef WBSR_FINISH

template <class T>
void finishAll(const float* sum, const float* weight, int64_t pixels, int channels, const float* alpha, T* out) {
  const int64_t blocks = (pixels + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) if (pixels > 1 << 18)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t from = block * kBlock;
    const int n = static_cast<int>(std::min<int64_t>(kBlock, pixels - from));
    finish(sum + 3 * from, weight ? weight + from : nullptr, alpha ? alpha + from : nullptr, n, channels,
           out + from * channels);
  }
}

}  // namespace

void toRgbFloat(const View& in, float* out) {
  const size_t stride = static_cast<size_t>(in.width) * in.channels, outStride = static_cast<size_t>(in.width) * 3;
#pragma omp parallel for schedule(static) if (static_cast <int64_t>(in.width) * in.height > 1 << 18)
  for (int y = 0; y < in.height; ++y) {
    const size_t from = stride * y;
    float* row = out + outStride * y;
    if (in.type == Sample::U8) colour(static_cast<const uint8_t*>(in.data) + from, in.width, in.channels, row);
    if (in.type == Sample::U16) colour(static_cast<const uint16_t*>(in.data) + from, in.width, in.channels, row);
    if (in.type == Sample::F32) colour(static_cast<const float*>(in.data) + from, in.width, in.channels, row);
  }
}

void toAlphaFloat(const View& in, float* out) {
  const size_t pixels = static_cast<size_t>(in.width) * in.height;
  if (in.channels == 1 || in.channels == 3) {
    std::fill(out, out + pixels, 1.f);
  } else if (in.type == Sample::U8) {
    alphaOf(static_cast<const uint8_t*>(in.data), pixels, in.channels, out);
  } else if (in.type == Sample::U16) {
    alphaOf(static_cast<const uint16_t*>(in.data), pixels, in.channels, out);
  } else {
    alphaOf(static_cast<const float*>(in.data), pixels, in.channels, out);
  }
}

void finishRows(const float* sum, const float* weight, int width, int firstRow, int rows, int channels,
                const float* alpha, Sample type, void* out) {
  const size_t skipped = static_cast<size_t>(firstRow) * width;
  const int64_t pixels = static_cast<int64_t>(rows) * width;
  const float* from = sum + 3 * skipped;
  const float* weights = weight ? weight + skipped : nullptr;
  if (type == Sample::U8) finishAll(from, weights, pixels, channels, alpha, static_cast<uint8_t*>(out));
  if (type == Sample::U16) finishAll(from, weights, pixels, channels, alpha, static_cast<uint16_t*>(out));
  if (type == Sample::F32) finishAll(from, weights, pixels, channels, alpha, static_cast<float*>(out));
}

}  // namespace wbsr::image

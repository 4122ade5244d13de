// Conversion before and after inference: stored samples -> float RGB, blended sums -> stored samples.
#include <algorithm>
#include <cmath>

#include "core/instruction_set.h"
#include "core/math/colour.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

template <class T, int C>
WBSR_INLINE void colourOf(const T* __restrict in, size_t pixels, float* __restrict out) {
  if constexpr (C == 3) {  // sample by sample: one loop that vectorises
    for (size_t i = 0; i < pixels * 3; ++i) out[i] = static_cast<float>(in[i]) * math::sampleUnit<T>;
  } else {
    for (size_t i = 0; i < pixels; ++i) math::rgbOfPixel<T, C>(in + C * i, out + 3 * i);
  }
}

template <class T>
WBSR_INLINE void colour(const T* in, size_t pixels, int channels, float* out) {
  switch (channels) {
    case 1: return colourOf<T, 1>(in, pixels, out);
    case 2: return colourOf<T, 2>(in, pixels, out);
    case 3: return colourOf<T, 3>(in, pixels, out);
    default: return colourOf<T, 4>(in, pixels, out);
  }
}

template <class T>
void alphaOf(const T* in, size_t pixels, int channels, float* out) {
  for (size_t i = 0; i < pixels; ++i)
    out[i] = static_cast<float>(in[i * channels + channels - 1]) * math::sampleUnit<T>;
}

// Pixels per block: the buffers of a block stay in the L1 cache.
constexpr int kBlock = 512;

template <class T>
WBSR_INLINE void storeSamples(const float* __restrict values, int n, T* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = math::storedSample<T>(values[i]);
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
WBSR_INLINE void finishBlock(const float* rgb, const float* weight, const float* alpha, int n, int channels, T* out) {
  float buffer[kBlock * 3];
  const float* colour = divided(rgb, weight, n, buffer);
  if (channels == 3) return storeSamples(colour, n * 3, out);
  if (channels == 1) {
    float grey[kBlock];
    for (int i = 0; i < n; ++i) grey[i] = math::luma(colour[3 * i], colour[3 * i + 1], colour[3 * i + 2]);
    return storeSamples(grey, n, out);
  }
  float pixels[kBlock * 4];
  for (int i = 0; i < n; ++i) {
    const float a = alpha[i], factor = math::unpremultiply<T>(a);
    const float r = colour[3 * i] * factor, g = colour[3 * i + 1] * factor, b = colour[3 * i + 2] * factor;
    if (channels == 2) {
      pixels[2 * i] = math::luma(r, g, b), pixels[2 * i + 1] = a;
    } else {
      pixels[4 * i] = r, pixels[4 * i + 1] = g, pixels[4 * i + 2] = b, pixels[4 * i + 3] = a;
    }
  }
  storeSamples(pixels, n * channels, out);
}

template <class T>
void finishAll(const float* sum, const float* weight, int64_t pixels, int channels, const float* alpha, T* out) {
  const int64_t blocks = (pixels + kBlock - 1) / kBlock;
#pragma omp parallel for schedule(static) if (pixels > 1 << 18)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t from = block * kBlock;
    const int n = static_cast<int>(std::min<int64_t>(kBlock, pixels - from));
    perInstructionSet<finishBlock<T>>(sum + 3 * from, weight ? weight + from : nullptr, alpha ? alpha + from : nullptr,
                                      n, channels, out + from * channels);
  }
}

}  // namespace

void toRgbFloat(const View& in, float* out) {
  const size_t stride = static_cast<size_t>(in.width) * in.channels, outStride = static_cast<size_t>(in.width) * 3;
#pragma omp parallel for schedule(static) if (static_cast <int64_t>(in.width) * in.height > 1 << 18)
  for (int y = 0; y < in.height; ++y) {
    const size_t from = stride * y;
    float* row = out + outStride * y;
    if (in.type == Sample::U8)
      perInstructionSet<colour<uint8_t>>(static_cast<const uint8_t*>(in.data) + from, static_cast<size_t>(in.width),
                                         in.channels, row);
    if (in.type == Sample::U16)
      perInstructionSet<colour<uint16_t>>(static_cast<const uint16_t*>(in.data) + from, static_cast<size_t>(in.width),
                                          in.channels, row);
    if (in.type == Sample::F32)
      perInstructionSet<colour<float>>(static_cast<const float*>(in.data) + from, static_cast<size_t>(in.width),
                                       in.channels, row);
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

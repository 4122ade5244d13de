// The router's access to the picture: runs of 4 neighbouring pixels, y rows below a position, loaded as they are stored
// (Raw), so that loads can be in flight, and converted to luma later.
#pragma once
#include <cstdint>

#include "core/math/colour.h"
#include "core/math/fastmath.h"
#include "cuda/samples.h"
#include "cuda/tiles.h"

namespace wbsr::cuda {

constexpr int kRun = 4;

__device__ inline uint32_t shiftRight(uint32_t low, uint32_t high, uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __funnelshift_r(low, high, bits);
#else
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> (bits & 31));
#endif
}

// sum + the lower (upper) two bytes of a word times the two 16-bit halves of `factors`.
__device__ inline uint32_t dotLow(uint32_t factors, uint32_t word, uint32_t sum) {
#ifdef __CUDA_ARCH__
  return __dp2a_lo(factors, word, sum);
#else
  return sum + (factors & 0xffff) * (word & 255) + (factors >> 16) * (word >> 8 & 255);
#endif
}
__device__ inline uint32_t dotHigh(uint32_t factors, uint32_t word, uint32_t sum) {
#ifdef __CUDA_ARCH__
  return __dp2a_hi(factors, word, sum);
#else
  return dotLow(factors, word >> 16, sum);
#endif
}

// Luma of the four 8-bit RGB pixels in three words, times kLuma8.
__device__ inline void lumaOfBytes(const uint32_t* w, float* out) {
  constexpr auto red = static_cast<uint32_t>(math::kLuma8Red), green = static_cast<uint32_t>(math::kLuma8Green),
                 blue = static_cast<uint32_t>(math::kLuma8Blue);
  constexpr uint32_t start = 0x4B000000u;  // the bits of 2^23; those of 2^23 + n are start + n
  const uint32_t bits[4] = {dotHigh(blue, w[0], dotLow(green << 16 | red, w[0], start)),
                            dotLow(blue << 16 | green, w[1], dotHigh(red << 16, w[0], start)),
                            dotLow(blue, w[2], dotHigh(green << 16 | red, w[1], start)),
                            dotHigh(blue << 16 | green, w[2], dotLow(red << 16, w[2], start))};
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = math::bitsFloat(static_cast<int>(bits[i])) - 8388608.f;
}

// 8-bit RGB: runs are 12 bytes, and one word more is read where they do not begin at multiples of 4. What is read beside
// the run is not used; it may lie up to 15 bytes behind the picture. kRagged: the last pixel of short runs is repeated.
template <bool kAligned, bool kRagged_>
struct ByteRuns {
  static constexpr int kAhead = kRagged_ ? 1 : 2;  // rows whose loads are in flight
  static constexpr bool kRagged = kRagged_;
  static constexpr int kWords = kAligned ? 3 : 4;
  struct Raw {
    uint32_t words[kWords];
  };
  const uint8_t* at;  // the run at y = 0
  int pitch;          // bytes
  int pixels;

  __device__ ByteRuns(const DevicePicture& picture, int x, int y, int pixels_)
      : at(static_cast<const uint8_t*>(picture.data) + (static_cast<int64_t>(y) * picture.width + x) * 3),
        pitch(picture.width * 3),
        pixels(pixels_) {}
  __device__ uint32_t misaligned(int y) const {
    return (static_cast<uint32_t>(reinterpret_cast<uintptr_t>(at)) + static_cast<uint32_t>(y * pitch)) & 3;
  }
  __device__ void load(int y, Raw& raw) const {
    const uint8_t* from = at + y * pitch;
    if constexpr (!kAligned) from -= misaligned(y);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(from);
#pragma unroll
    for (int i = 0; i < kWords; ++i) raw.words[i] = __ldg(words + i);
  }
  __device__ void luma(int y, const Raw& raw, float* out) const {
    uint32_t words[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      if constexpr (kAligned)
        words[i] = raw.words[i];
      else
        words[i] = shiftRight(raw.words[i], raw.words[i + 1], misaligned(y) * 8);
    }
    lumaOfBytes(words, out);
#pragma unroll
    for (int i = 1; i < kRun; ++i)
      if (kRagged && i >= pixels) out[i] = out[i - 1];
  }
};

// Every other picture.
template <typename T, int C>
struct PixelRuns {
  static constexpr int kAhead = 1;
  static constexpr bool kRagged = true;
  struct Raw {
    float luma[kRun];  // converted at once: three bytes apart would take a register each
  };
  const Pixel<T, C>* at;
  int width, last;

  __device__ PixelRuns(const DevicePicture& picture, int x, int y, int pixels)
      : at(static_cast<const Pixel<T, C>*>(picture.data) + static_cast<int64_t>(y) * picture.width + x),
        width(picture.width),
        last(pixels - 1) {}
  __device__ void load(int y, Raw& raw) const {
    const Pixel<T, C>* row = at + y * width;
#pragma unroll
    for (int i = 0; i < kRun; ++i) raw.luma[i] = lumaOf(row[min(i, last)]);
  }
  __device__ static float lumaOf(const Pixel<T, C>& p) {
    const Rgb c = rgbOf(p);
    return C < 3 ? c.r : math::luma(c.r, c.g, c.b);  // grey is its own luma
  }
  __device__ void luma(int /*y*/, const Raw& raw, float* out) const {
#pragma unroll
    for (int i = 0; i < kRun; ++i) out[i] = raw.luma[i];
  }
};

// The value in [0, 1] of one unit of the readers' luma.
template <typename T, int C>
constexpr double kLumaUnit = sizeof(T) == 1 && C == 3 ? 1.0 / math::kLuma8 : 1.0;

}  // namespace wbsr::cuda

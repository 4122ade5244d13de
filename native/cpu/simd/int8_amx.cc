// Products by AMX: 16 pixels times 64 bytes of their neighbourhood, times the weights of 16 outputs.
// GCC 12 says so of its own header (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "cpu/simd/avx512.inc"
#include "cpu/simd/int8.h"

namespace wbsr::simd {
namespace amx {
namespace {

#define INLINE __attribute__((always_inline)) inline

#include "cpu/simd/vector.inc"

#include "cpu/simd/finish.inc"

constexpr int kPixels = 16;   // of a tile register
constexpr int kTogether = 2;  // tiles of pixels, and blocks of outputs, that are multiplied together

// The quantised rows of a band: (rows + 2, w + 2, channels) bytes with a border of one pixel; tiles of pixels go on from
// one row to the next, so that the last ones read behind the end.
int64_t scratch(int blocksIn, int rows, int w) {
  const int64_t channels = int64_t{blocksIn} * LANES;
  return (int64_t{rows} + 2) * (w + 2) * channels + (kTogether * kPixels + 2) * channels + 64;
}

void range(const float* pixels, int64_t count, float* low, float* high) {
  __m512 least = _mm512_loadu_ps(low), most = _mm512_loadu_ps(high);
  for (int64_t i = 0; i < count; ++i) {
    const __m512 v = _mm512_loadu_ps(pixels + i * LANES);
    least = _mm512_min_ps(least, v);
    most = _mm512_max_ps(most, v);
  }
  _mm512_storeu_ps(low, least);
  _mm512_storeu_ps(high, most);
}

// Four registers hold four bytes each of sixteen outputs.
constexpr int kQuarters = 4;

// combine(a, b) of the four numbers of each output.
template <class T, class Combine>
INLINE void perOutput(const T* numbers, T* outputs, Combine combine) {
  for (int o = 0; o < LANES; ++o) {
    const T* n = numbers + 4 * o;
    outputs[o] = combine(combine(n[0], n[1]), combine(n[2], n[3]));
  }
}

void quantiseWeights(const Int8Block& b) {
  const int groups = b.pieces.count * b.pieces.bytes / 4;  // of a row of the filter
  const auto weights = [&](const float* dense, int group, int quarter) {
    const __m512 factor = _mm512_broadcast_f32x4(_mm_loadu_ps(b.factors + 4 * group));
    return _mm512_mul_ps(_mm512_loadu_ps(dense + quarter * LANES), factor);
  };
  __m512 largest[kQuarters] = {};
  const float* dense = b.dense;
  for (int ky = 0; ky < 3; ++ky)
    for (int g = 0; g < groups; ++g, dense += kQuarters * LANES)
      for (int q = 0; q < kQuarters; ++q) largest[q] = _mm512_max_ps(largest[q], _mm512_abs_ps(weights(dense, g, q)));
  float ofQuarters[kQuarters * LANES], inverse[kQuarters * LANES];
  for (int q = 0; q < kQuarters; ++q) _mm512_storeu_ps(ofQuarters + q * LANES, largest[q]);
  perOutput(ofQuarters, b.scales, [](float x, float y) { return x > y ? x : y; });
  for (int o = 0; o < LANES; ++o) {
    b.scales[o] = b.scales[o] > 0.f ? b.scales[o] / 127.f : 1.f;
    for (int k = 0; k < 4; ++k) inverse[4 * o + k] = 1.f / b.scales[o];
  }
  __m512i sums[kQuarters] = {};
  dense = b.dense;
  int8_t* to = b.values;
  for (int ky = 0; ky < 3; ++ky)
    for (int g = 0; g < groups; ++g, dense += kQuarters * LANES)
      for (int q = 0; q < kQuarters; ++q, to += LANES) {
        const __m512 scaled = _mm512_mul_ps(weights(dense, g, q), _mm512_loadu_ps(inverse + q * LANES));
        const __m512i value = _mm512_cvtps_epi32(scaled);
        sums[q] = _mm512_add_epi32(sums[q], value);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtsepi32_epi8(value));
      }
  int32_t sumOfQuarters[kQuarters * LANES];
  for (int q = 0; q < kQuarters; ++q) _mm512_storeu_si512(sumOfQuarters + q * LANES, sums[q]);
  perOutput(sumOfQuarters, b.sums, [](int32_t x, int32_t y) { return x + y; });
}

INLINE void fill(uint8_t* to, int64_t count, int value) { __builtin_memset(to, value, static_cast<size_t>(count)); }

// Rows first - 1 .. first + rows of the image.
void quantiseRows(const Int8Conv& c, int first, int rows, uint8_t* to) {
  const int64_t channels = int64_t{c.blocksIn} * LANES, row = (int64_t{c.w} + 2) * channels;
  const __m512i zero = _mm512_set1_epi32(c.zero), none = _mm512_setzero_si512();
  for (int r = 0; r < rows + 2; ++r, to += row) {
    const int y = first - 1 + r;
    if (y < 0 || y >= c.h) {
      fill(to, row, c.zero);
      continue;
    }
    fill(to, channels, c.zero);
    fill(to + row - channels, channels, c.zero);
    for (int b = 0; b < c.blocksIn; ++b) {
      const float* from = c.in + (int64_t{b} * c.h + y) * c.w * LANES;
      uint8_t* pixel = to + channels + b * LANES;
      const __m512 inverse = _mm512_loadu_ps(c.inverses + b * LANES);
      for (int x = 0; x < c.w; ++x, from += LANES, pixel += channels) {
        const __m512i q = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from), inverse)), zero);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixel), _mm512_cvtusepi32_epi8(_mm512_max_epi32(q, none)));
      }
    }
  }
}

// GCC's intrinsics do not say what memory they read: everything that was stored has to be there before.
INLINE void memoryIsRead(const void* memory) { asm volatile("" ::"r"(memory) : "memory"); }

struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 .. 3: sums of (tile of pixels, block of outputs); 4, 5: pixels; 6, 7: weights.
void configure(int pieceBytes) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<uint8_t>(tile < 6 ? kPixels : pieceBytes / 4);
    config.bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? pieceBytes : 64);
  }
  memoryIsRead(&config);
  _tile_loadconfig(&config);
}

// sums (2, B, 16, 16): tiles of pixels, blocks of outputs.
template <int B>
INLINE void products(const uint8_t* pixels, int64_t channels, int64_t row, const int8_t* weights, int64_t block,
                     Int8Pieces pieces, int32_t* sums) {
  const int64_t tile = int64_t{pieces.bytes} * LANES;
  _tile_zero(0);
  _tile_zero(2);
  if constexpr (B == 2) {
    _tile_zero(1);
    _tile_zero(3);
  }
  for (int ky = 0; ky < 3; ++ky)
    for (int piece = 0; piece < pieces.count; ++piece) {
      const uint8_t* a = pixels + ky * row + piece * pieces.bytes;
      const int8_t* b = weights + (ky * pieces.count + piece) * tile;
      _tile_loadd(6, b, 64);
      _tile_loadd(4, a, channels);
      _tile_dpbusd(0, 4, 6);
      _tile_loadd(5, a + kPixels * channels, channels);
      _tile_dpbusd(2, 5, 6);
      if constexpr (B == 2) {
        _tile_loadd(7, b + block, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(3, 5, 7);
      }
    }
  constexpr int kTile = kPixels * LANES;
  _tile_stored(0, sums, 64);
  _tile_stored(2, sums + B * kTile, 64);
  if constexpr (B == 2) {
    _tile_stored(1, sums + kTile, 64);
    _tile_stored(3, sums + 3 * kTile, 64);
  }
}

// Pixels [position, position + 32) of the band, counted with its border, in B blocks of outputs from `block` on.
template <Finish::Kind K, int B>
INLINE void finish(const Int8Conv& c, int first, int count, int64_t position, int block, const int32_t* sums,
                   float* low, float* high) {
  const int64_t width = c.w + 2, end = position + kTogether * kPixels;
  for (int b = 0; b < B; ++b) {
    const int channel = (block + b) * LANES;
    const Finisher<K> finisher(c.finish, channel);
    const __m512 scale = _mm512_loadu_ps(c.scales + channel);
    const __m512i offset = _mm512_loadu_si512(c.offsets + channel);
    __m512 least = _mm512_loadu_ps(low + channel), most = _mm512_loadu_ps(high + channel);
    for (int64_t at = position; at < end;) {
      const int64_t y = at / width, x = at - y * width;
      if (y >= count) break;
      const int64_t stop = at - x + c.w < end ? at - x + c.w : end;  // of the pixels in this row
      const int64_t out = ((int64_t{block} + b) * c.h + first + y) * c.w + x;
      for (int64_t p = at; p < stop; ++p) {
        const int64_t i = p - position;
        const int32_t* from = sums + ((i / kPixels * B + b) * kPixels + i % kPixels) * LANES;
        const __m512i sum = _mm512_sub_epi32(_mm512_loadu_si512(from), offset);
        const Vec v = finisher((Vec)_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale), c.out, (out + p - at) * LANES);
        least = _mm512_min_ps(least, (__m512)v);
        most = _mm512_max_ps(most, (__m512)v);
      }
      at = (y + 1) * width;
    }
    _mm512_storeu_ps(low + channel, least);
    _mm512_storeu_ps(high + channel, most);
  }
}

void run(const Int8Conv& c, int first, int count, uint8_t* memory, float* low, float* high) {
  quantiseRows(c, first, count, memory);
  const int64_t channels = int64_t{c.blocksIn} * LANES, row = (int64_t{c.w} + 2) * channels;
  const Int8Pieces pieces = int8Pieces(static_cast<int>(channels));
  const int64_t block = int64_t{3} * pieces.count * pieces.bytes * LANES, end = int64_t{count} * (c.w + 2);
  configure(pieces.bytes);
  memoryIsRead(memory);
  withKind(c.finish.kind, [&](auto kind) {
    alignas(64) int32_t sums[kTogether * kTogether * kPixels * LANES];
    for (int64_t position = 0; position < end; position += kTogether * kPixels)
      for (int b = 0; b < c.blocksOut; b += kTogether) {
        const uint8_t* pixels = memory + position * channels;
        const int8_t* weights = c.weights + b * block;
        if (b + 1 < c.blocksOut) {
          products<2>(pixels, channels, row, weights, block, pieces, sums);
          finish<decltype(kind)::value, 2>(c, first, count, position, b, sums, low, high);
        } else {
          products<1>(pixels, channels, row, weights, block, pieces, sums);
          finish<decltype(kind)::value, 1>(c, first, count, position, b, sums, low, high);
        }
      }
  });
  _tile_release();  // what the system saves at each change of threads is small again
}

}  // namespace

constexpr Int8 int8Table{LANES, range, quantiseWeights, scratch, run};

}  // namespace amx

const Int8* amxInt8() { return &amx::int8Table; }

}  // namespace wbsr::simd

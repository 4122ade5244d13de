// Decoded images as native code receives them: interleaved (height, width, channels).
#pragma once
#include <cstddef>
#include <cstdint>

namespace wbsr {

enum class Sample { U8, U16, F32 };  // 0..255, 0..65535, 0..1

inline size_t sampleBytes(Sample type) { return type == Sample::U8 ? 1 : type == Sample::U16 ? 2 : 4; }

// channels: 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA.
struct View {
  const void* data = nullptr;
  Sample type = Sample::U8;
  int width = 0, height = 0, channels = 0;
};

// Where a View lies in a picture that several jobs read: its first row is row `top` of `rows`. A picture's pixels do not
// change between its jobs, so a device may keep them.
struct Origin {
  uint64_t picture = 0;  // its number; 0: no such picture
  int top = 0, rows = 0;
};

// A training crop: top left in HR pixels; flips, then the transpose.
struct Crop {
  int image = 0;
  int x = 0, y = 0;
  bool flipX = false, flipY = false, transpose = false;
};

}  // namespace wbsr

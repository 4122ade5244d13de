// Sums over tiles that the calibrated router and the paper's protocol need. Plain functions; the caller checks sizes.
#pragma once
#include <cstdint>

namespace wbsr {

// a, b: float RGB (height, width, 3). errors (count): sum over the samples of each rectangle (x, y, width, height) of
// (clamp(a, 0, 1) - b)^2. Clamped as pixels are when they are stored.
void squaredErrors(const float* a, const float* b, int width, const int32_t* rects, int count, double* errors);

// tiles (columns * rows, size, size, channels), row by row, at positions that are multiples of `step` (size >= step):
// out ((rows - 1) * step + size, (columns - 1) * step + size, channels): the mean of the tiles that cover
// a pixel, rounded half up.
void averageTiles(const uint8_t* tiles, int columns, int rows, int size, int step, int channels, uint8_t* out);

}  // namespace wbsr

#include "image/tile_error.h"

#include <algorithm>
#include <cstddef>

namespace wbsr {

void squaredErrors(const float* a, const float* b, int width, const int32_t* rects, int count, double* errors) {
  for (int i = 0; i < count; ++i) {
    const int32_t* rect = rects + 4 * i;
    double sum = 0;
    for (int y = rect[1]; y < rect[1] + rect[3]; ++y) {
      const ptrdiff_t start = (ptrdiff_t{y} * width + rect[0]) * 3;
      float row = 0;  // a row is short enough for float, and vectorises
      for (int x = 0; x < rect[2] * 3; ++x) {
        const float e = std::clamp(a[start + x], 0.f, 1.f) - b[start + x];
        row += e * e;
      }
      sum += row;
    }
    errors[i] = sum;
  }
}

namespace {

struct Range {
  int first, last;
};

// The tiles along one axis that cover a position.
Range covering(int position, int count, int size, int step) {
  const int first = position < size ? 0 : (position - size) / step + 1;
  return {first, std::min(position / step, count - 1)};
}

}  // namespace

void averageTiles(const uint8_t* tiles, int columns, int rows, int size, int step, int channels, uint8_t* out) {
  const int width = (columns - 1) * step + size, height = (rows - 1) * step + size;
  for (int y = 0; y < height; ++y) {
    const Range down = covering(y, rows, size, step);
    for (int x = 0; x < width; ++x) {
      const Range across = covering(x, columns, size, step);
      const int covered = (down.last - down.first + 1) * (across.last - across.first + 1);
      for (int c = 0; c < channels; ++c) {
        int sum = 0;
        for (int r = down.first; r <= down.last; ++r)
          for (int k = across.first; k <= across.last; ++k) {
            const ptrdiff_t tile = ptrdiff_t{r} * columns + k;
            sum += tiles[((tile * size + y - r * step) * size + x - k * step) * channels + c];
          }
        out[(ptrdiff_t{y} * width + x) * channels + c] = static_cast<uint8_t>((2 * sum + covered) / (2 * covered));
      }
    }
  }
}

}  // namespace wbsr

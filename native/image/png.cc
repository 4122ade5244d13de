// PNG row filters. Here the rows are still in the cache, and zlib's thread is left to compression.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/instruction_set.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

constexpr int kFilters = 5;  // none, sub, up, average, Paeth

WBSR_INLINE int absolute(int v) { return v < 0 ? -v : v; }

WBSR_INLINE uint8_t paeth(int left, int up, int corner) {
  const int a = absolute(up - corner), b = absolute(left - corner), c = absolute(left + up - 2 * corner);
  return static_cast<uint8_t>(a <= b && a <= c ? left : b <= c ? up : corner);
}

// row, up (n bytes, with `step` zero bytes or more before each) -> out (4, n), the filters but `none`.
WBSR_INLINE void filterRow(const uint8_t* row, const uint8_t* up, int n, int step, uint8_t* __restrict out) {
  const uint8_t *left = row - step, *corner = up - step;
  uint8_t* __restrict sub = out, * __restrict above = sub + n, * __restrict average = above + n, * __restrict predicted = average + n;
  for (int i = 0; i < n; ++i) sub[i] = static_cast<uint8_t>(row[i] - left[i]);
  for (int i = 0; i < n; ++i) above[i] = static_cast<uint8_t>(row[i] - up[i]);
  for (int i = 0; i < n; ++i) average[i] = static_cast<uint8_t>(row[i] - ((left[i] + up[i]) >> 1));
  for (int i = 0; i < n; ++i) predicted[i] = static_cast<uint8_t>(row[i] - paeth(left[i], up[i], corner[i]));
}

WBSR_INLINE int64_t absoluteSum(const uint8_t* row, int n) {
  int64_t total = 0;
  for (int from = 0; from < n; from += 65536) {
    const int to = n - from < 65536 ? n : from + 65536;
    int32_t sum = 0;
    for (int i = from; i < to; ++i) sum += row[i] < 128 ? row[i] : 256 - row[i];
    total += sum;
  }
  return total;
}

void bigEndianBytes(const View& in, const void* row, int samples, uint8_t* out) {
  if (in.type == Sample::U8) {
    std::memcpy(out, row, samples);
    return;
  }
  const uint16_t* values = static_cast<const uint16_t*>(row);
  for (int i = 0; i < samples; ++i) {
    out[2 * i] = static_cast<uint8_t>(values[i] >> 8);
    out[2 * i + 1] = static_cast<uint8_t>(values[i]);
  }
}

}  // namespace

void pngFilterRows(const View& in, const void* previous, uint8_t* out) {
  const int samples = in.width * in.channels, step = in.channels * static_cast<int>(sampleBytes(in.type));
  const int n = in.width * step;
  // Two rows with room for the zero pixel to the left, swapped after every row.
  std::vector<uint8_t> buffers[2], filtered(static_cast<size_t>(n) * (kFilters - 1));
  for (auto& buffer : buffers) buffer.assign(static_cast<size_t>(n) + step, 0);
  uint8_t *row = buffers[0].data() + step, *up = buffers[1].data() + step;
  if (previous != nullptr) bigEndianBytes(in, previous, samples, up);
  for (int y = 0; y < in.height; ++y, out += n + 1) {
    bigEndianBytes(in, static_cast<const uint8_t*>(in.data) + static_cast<size_t>(y) * n, samples, row);
    perInstructionSet<filterRow>(row, up, n, step, filtered.data());
    int best = 0;
    int64_t least = perInstructionSet<absoluteSum>(row, n);
    for (int f = 1; f < kFilters; ++f) {
      const int64_t sum = perInstructionSet<absoluteSum>(filtered.data() + static_cast<size_t>(f - 1) * n, n);
      if (sum < least) {
        best = f;
        least = sum;
      }
    }
    out[0] = static_cast<uint8_t>(best);
    std::memcpy(out + 1, best == 0 ? row : filtered.data() + static_cast<size_t>(best - 1) * n, n);
    std::swap(row, up);
  }
}

}  // namespace wbsr::image

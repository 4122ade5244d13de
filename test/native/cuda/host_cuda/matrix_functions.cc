// Compiled as kernels are, so that the sanitizers see what is read and written here.
#include "matrix_functions.h"

#include <cmath>
#include <cstring>

#include "cuda_bf16.h"

namespace wbsr::host_cuda {
namespace {

float widenFp16(unsigned short value) {
  const int exponent = value >> 10 & 31, mantissa = value & 1023;
  const float size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                   : exponent == 0  ? std::ldexp(static_cast<float>(mantissa), -24)
                                    : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return value & 0x8000 ? -size : size;
}

template <typename Widen>
void multiplyAdd(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, const Site& site, Widen widen) {
  const Words* lanes = warpExchangeWords({{a[0], a[1], a[2], a[3], b0, b1}}, site);
  const auto half = [&](unsigned word, int which) { return widen(static_cast<unsigned short>(word >> (16 * which))); };
  const int group = laneOf() / 4, quarter = laneOf() % 4;
  for (int row = 0; row < 2; ++row)
    for (int column = 0; column < 2; ++column) {
      float& sum = d[2 * row + column];
      for (int k = 0; k < 16; ++k) {
        const int holder = k % 8 / 2, upper = k / 8;  // of the lanes of a group; of its words
        sum = std::fmaf(half(lanes[4 * group + holder].word[2 * upper + row], k % 2),
                        half(lanes[4 * (2 * quarter + column) + holder].word[4 + upper], k % 2), sum);
      }
    }
}

}  // namespace

void multiplyAddBf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, std::source_location where) {
  multiplyAdd(d, a, b0, b1, {"multiplyAddBf16", where}, widenBf16);
}
void multiplyAddFp16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, std::source_location where) {
  multiplyAdd(d, a, b0, b1, {"multiplyAddFp16", where}, widenFp16);
}

void loadMatrices(unsigned* matrices, int count, bool transposed, const void* row, const Site& site) {
  const uint64_t* rows = warpExchange(0xffffffffu, reinterpret_cast<uintptr_t>(row), site);
  if (laneCount() != kLanes) fail(site.text() + ": the warp has fewer than 32 lanes");
  const int group = laneOf() / 4, quarter = laneOf() % 4;
  for (int i = 0; i < count; ++i) {
    const auto at = [&](int r, int column) {
      const uint64_t address = rows[8 * i + r];
      if (address % 16 != 0) fail(site.text() + ": a row is not aligned to 16 bytes");
      return unsigned{reinterpret_cast<const unsigned short*>(address)[column]};
    };
    matrices[i] = transposed ? at(2 * quarter, group) | at(2 * quarter + 1, group) << 16
                             : at(group, 2 * quarter) | at(group, 2 * quarter + 1) << 16;
  }
}

void copyAsync(void* shared, const void* global, bool real) {
  if (reinterpret_cast<uintptr_t>(shared) % 16 != 0 || reinterpret_cast<uintptr_t>(global) % 16 != 0)
    fail("copyAsync: an address is not aligned to 16 bytes");
  std::memset(shared, 0xff, 16);
  asyncCopies().queued.push_back({shared, real ? global : nullptr});
}

void commitCopies() {
  AsyncCopies& copies = asyncCopies();
  copies.groups.push_back(copies.queued.size());
}

void waitForCopies(size_t behind) {
  AsyncCopies& copies = asyncCopies();
  if (copies.groups.size() <= behind) return;
  const size_t done = copies.groups.size() - behind, count = copies.groups[done - 1];
  for (size_t i = 0; i < count; ++i) {
    const AsyncCopies::Copy& copy = copies.queued[i];
    if (copy.from)
      std::memcpy(copy.to, copy.from, 16);
    else
      std::memset(copy.to, 0, 16);
  }
  copies.queued.erase(copies.queued.begin(), copies.queued.begin() + static_cast<std::ptrdiff_t>(count));
  copies.groups.erase(copies.groups.begin(), copies.groups.begin() + static_cast<std::ptrdiff_t>(done));
  for (size_t& end : copies.groups) end -= count;
}

}  // namespace wbsr::host_cuda

// The functions of native/cuda/kernels/matrix.h, which says what they do.
#pragma once
#include "engine.h"

namespace wbsr::host_cuda {

// Products are added one after the other, each rounded to float once; a device's order is not documented.
void multiplyAddBf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                     std::source_location where = std::source_location::current());
void multiplyAddFp16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                     std::source_location where = std::source_location::current());

void loadMatrices(unsigned* matrices, int count, bool transposed, const void* row, const Site& site);
template <int kCount, bool kTransposed = false>
void loadMatrices(unsigned (&matrices)[kCount], const void* row,
                  std::source_location where = std::source_location::current()) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  loadMatrices(matrices, kCount, kTransposed, row, {"loadMatrices", where});
}

// The target is NaN until the thread waits: whoever reads it before, or still needs what was there, finds that. A thread
// that ends with copies it has not waited for ends the process.
void copyAsync(void* shared, const void* global, bool real = true);
void commitCopies();
void waitForCopies(size_t behind);
template <int kBehind>
void waitForCopies() {
  waitForCopies(size_t{kBehind});
}

}  // namespace wbsr::host_cuda

// Elementwise loops over whole values on all threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/node.h"
#include "cpu/simd/kernels.h"

namespace wbsr::cpu {

// An elementwise loop over n floats in chunks that fit caches; fn(from, count).
template <class Fn>
void chunked(int64_t n, Fn fn) {
  constexpr int64_t kChunk = 16384;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; ++c) fn(c * kChunk, std::min(kChunk, n - c * kChunk));
}

// x = activation(x)
void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n);
// out = activation(in), of a kind other than None; in may be out, but not overlap it otherwise.
void activateTo(const simd::Kernels& kernels, const float* in, float* out, ActivationKind kind, float slope, int64_t n);

}  // namespace wbsr::cpu

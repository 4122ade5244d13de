// Elementwise loops over whole values on all threads.
#pragma once
#include <algorithm>
#include <cstdint>

#include "core/graph.h"
#include "cpu/operators.h"
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

inline void activate(const simd::Kernels& kernels, float* x, ActivationKind kind, float slope, int64_t n) {
  if (kind == ActivationKind::None) return;
  if (kind == ActivationKind::Sigmoid) return sigmoid(x, n);
  chunked(n, [&](int64_t from, int64_t count) { kernels.leaky(x + from, slope, count); });
}

}  // namespace wbsr::cpu

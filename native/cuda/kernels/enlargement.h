// Bilinear and bicubic enlargement by a whole factor: half-pixel centres, edges clamped. The factor is whole, so weights
// depend on an output's phase within its input pixel only: each block makes the table of all phases once. A window of
// kReach input samples to either side holds every tap of every phase; for taps that a phase does not have, the formulas of
// the kernels give the weight 0.
#pragma once
#include "core/math/cubic.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {

constexpr int kMaxFactor = 8;  // Graph allows no larger one

// The window of an output with the base (input pixel it lies in) b is b - reach .. b + reach.
template <bool kCubic>
constexpr int kReach = kCubic ? 2 : 1;
template <bool kCubic>
constexpr int kWindow = 2 * kReach<kCubic> + 1;

// Weight of window sample `tap` for outputs of the phase.
template <bool kCubic>
__device__ inline float phaseWeight(int phase, int tap, int factor) {
  const double distance = (phase + 0.5) / factor - 0.5 - (tap - kReach<kCubic>);
  if (kCubic) return static_cast<float>(math::cubicKernel(distance));
  const double d = distance < 0 ? -distance : distance;
  return d < 1 ? static_cast<float>(1 - d) : 0.f;
}

// The block's table of phases. Every thread of the block calls it; others see it behind the next barrier.
template <bool kCubic>
__device__ inline void makeTable(float (*table)[kWindow<kCubic>], int factor) {
  for (int i = static_cast<int>(threadIdx.x); i < factor * kWindow<kCubic>; i += static_cast<int>(blockDim.x)) {
    const int phase = i / kWindow<kCubic>, tap = i % kWindow<kCubic>;
    table[phase][tap] = phaseWeight<kCubic>(phase, tap, factor);
  }
}

// The window has one sample more than there are taps: the first or the last, as the phase lies.
__device__ inline int firstTap(int phase, int factor) { return 2 * phase + 1 < factor ? 0 : 1; }

}  // namespace wbsr::cuda

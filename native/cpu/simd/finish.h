// What our own convolutions do to their sums before they store them.
#pragma once
#include <cstdint>

namespace wbsr::simd {

struct Finish {
  enum class Kind {
    Leaky,  // v > 0 ? v : v * slope, then + residual; slope 1: no activation, 0: ReLU
    Silu,   // v * logistic(v) + residual
    Gate,   // (v + residual) * (logistic(v) + gate)
  };
  Kind kind;
  const float* bias;      // (blocksOut * L); v = sum + bias
  const float* slopes;    // (blocksOut * L), null: 1
  const float* residual;  // addressed as the output, which may be its memory; null: none, but never with Gate
  float gate;
};

}  // namespace wbsr::simd

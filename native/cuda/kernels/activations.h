// Activations and their derivatives as functors of kernels.
#pragma once
#include "core/node.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {

// None, relu and leaky relu are one formula with slope 1, 0 and s. NaN stays NaN.
struct Activate {
  float slope;
  __device__ float operator()(float x) const { return x > 0.f ? x : x * slope; }
};
struct Sigmoid {
  __device__ float operator()(float x) const { return 1.f / (1.f + math::fastExp(-x)); }
};
struct Same {
  __device__ float operator()(float x) const { return x; }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};
// The derivative is told by the sign of the output: slopes are not negative.
struct ActivateBackward {
  float slope;
  __device__ float operator()(float dy, float y) const { return y > 0.f ? dy : dy * slope; }
};
struct SigmoidBackward {
  __device__ float operator()(float dy, float y) const { return dy * y * (1.f - y); }
};

// Relu's slope is 0 whatever the caller has in `slope`.
inline float slopeOf(ActivationKind kind, float slope) {
  return kind == ActivationKind::None ? 1.f : kind == ActivationKind::Relu ? 0.f : slope;
}

}  // namespace wbsr::cuda

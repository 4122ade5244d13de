// Activations and their derivatives as functors of kernels. NaN stays NaN.
#pragma once
#include "core/error.h"
#include "core/node.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {

__device__ inline float sigmoid(float x) { return 1.f / (1.f + math::fastExp(-x)); }

// None, relu and leaky relu are one formula with slope 1, 0 and s.
struct Activate {
  float slope;
  __device__ float operator()(float x) const { return x > 0.f ? x : x * slope; }
};
struct Sigmoid {
  __device__ float operator()(float x) const { return sigmoid(x); }
};
struct Silu {
  __device__ float operator()(float x) const { return x * sigmoid(x); }
};
struct Gelu {
  __device__ float operator()(float x) const { return 0.5f * x * (1.f + erff(x * 0.70710678f)); }
};
struct Tanh {
  __device__ float operator()(float x) const { return tanhf(x); }
};
struct Exp {
  __device__ float operator()(float x) const { return expf(x); }
};
struct Reciprocal {
  __device__ float operator()(float x) const { return 1.f / x; }
};

// dx from dy and the output y, but of silu and gelu the input x. The derivative of the relus is told by the sign of the
// output: slopes are not negative.
struct ActivateBackward {
  float slope;
  __device__ float operator()(float dy, float y) const { return y > 0.f ? dy : dy * slope; }
};
struct SigmoidBackward {
  __device__ float operator()(float dy, float y) const { return dy * y * (1.f - y); }
};
struct SiluBackward {
  __device__ float operator()(float dy, float x) const {
    const float s = sigmoid(x);
    return dy * (s * (1.f + x * (1.f - s)));
  }
};
struct GeluBackward {
  __device__ float operator()(float dy, float x) const {
    const float density = 0.39894228f * expf(-0.5f * x * x);
    return dy * (0.5f * (1.f + erff(x * 0.70710678f)) + x * density);
  }
};
struct TanhBackward {
  __device__ float operator()(float dy, float y) const { return dy * (1.f - y * y); }
};
struct ExpBackward {
  __device__ float operator()(float dy, float y) const { return dy * y; }
};
struct ReciprocalBackward {
  __device__ float operator()(float dy, float y) const { return -(dy * y * y); }
};

// Relu's slope is 0 whatever the caller has in `slope`.
inline float slopeOf(ActivationKind kind, float slope) {
  return kind == ActivationKind::None ? 1.f : kind == ActivationKind::Relu ? 0.f : slope;
}

// work(functor) with the activation.
template <typename F>
void withActivation(ActivationKind kind, float slope, F&& work) {
  switch (kind) {
    case ActivationKind::None:
    case ActivationKind::Relu:
    case ActivationKind::LeakyRelu: return work(Activate{slopeOf(kind, slope)});
    case ActivationKind::Sigmoid: return work(Sigmoid{});
    case ActivationKind::Silu: return work(Silu{});
    case ActivationKind::Gelu: return work(Gelu{});
    case ActivationKind::Tanh: return work(Tanh{});
    case ActivationKind::Exp: return work(Exp{});
    case ActivationKind::Reciprocal: return work(Reciprocal{});
  }
  WBSR_CHECK(false);
}

// work(functor) with its derivative.
template <typename F>
void withDerivative(ActivationKind kind, float slope, F&& work) {
  switch (kind) {
    case ActivationKind::None:
    case ActivationKind::Relu:
    case ActivationKind::LeakyRelu: return work(ActivateBackward{slopeOf(kind, slope)});
    case ActivationKind::Sigmoid: return work(SigmoidBackward{});
    case ActivationKind::Silu: return work(SiluBackward{});
    case ActivationKind::Gelu: return work(GeluBackward{});
    case ActivationKind::Tanh: return work(TanhBackward{});
    case ActivationKind::Exp: return work(ExpBackward{});
    case ActivationKind::Reciprocal: return work(ReciprocalBackward{});
  }
  WBSR_CHECK(false);
}

}  // namespace wbsr::cuda

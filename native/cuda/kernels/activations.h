// Activations and their derivatives as functors of kernels. NaN stays NaN.
#pragma once
#include <utility>

#include "core/error.h"
#include "core/math/activation.h"
#include "core/node.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {

// None, relu and leaky relu are one formula with slope 1, 0 and s.
struct Activate {
  float slope;
  __device__ float operator()(float x) const { return x > 0.f ? x : x * slope; }
};
struct Sigmoid {
  __device__ float operator()(float x) const { return math::logistic(x); }
};
struct Silu {
  __device__ float operator()(float x) const { return math::silu(x); }
};
struct Gelu {
  __device__ float operator()(float x) const { return math::gelu(x); }
};
struct Tanh {
  __device__ float operator()(float x) const { return math::hyperbolicTangent(x); }
};
struct Exp {
  __device__ float operator()(float x) const { return math::fastExp(x); }
};
struct Reciprocal {
  __device__ float operator()(float x) const { return 1.f / x; }
};

// dx from dy and the output y; of silu and gelu from the input x. The derivative of the relus follows from the sign of
// the output, because slopes are not negative.
struct ActivateBackward {
  float slope;
  __device__ float operator()(float dy, float y) const { return y > 0.f ? dy : dy * slope; }
};
struct SigmoidBackward {
  __device__ float operator()(float dy, float y) const { return dy * y * (1.f - y); }
};
struct SiluBackward {
  __device__ float operator()(float dy, float x) const { return dy * math::siluDerivative(x); }
};
struct GeluBackward {
  __device__ float operator()(float dy, float x) const { return dy * math::geluDerivative(x); }
};
struct TanhBackward {
  __device__ float operator()(float dy, float y) const { return dy * math::tanhDerivative(y); }
};
struct ExpBackward {
  __device__ float operator()(float dy, float y) const { return dy * math::expDerivative(y); }
};
struct ReciprocalBackward {
  __device__ float operator()(float dy, float y) const { return 0.f - dy * y * y; }
};

// Relu's slope is 0 whatever the caller has in `slope`.
inline float slopeOf(ActivationKind kind, float slope) {
  return kind == ActivationKind::None ? 1.f : kind == ActivationKind::Relu ? 0.f : slope;
}

// work(functor) with an activation that a step may apply to its result, padding included (layout.h).
template <typename F>
void withEnd(ActivationKind kind, float slope, F&& work) {
  switch (kind) {
    case ActivationKind::None:
    case ActivationKind::Relu:
    case ActivationKind::LeakyRelu: return work(Activate{slopeOf(kind, slope)});
    case ActivationKind::Sigmoid: return work(Sigmoid{});
    case ActivationKind::Silu: return work(Silu{});
    case ActivationKind::Gelu: return work(Gelu{});
    case ActivationKind::Tanh: return work(Tanh{});
    default: WBSR_CHECK(false);
  }
}

// work(functor) with any activation.
template <typename F>
void withActivation(ActivationKind kind, float slope, F&& work) {
  switch (kind) {
    case ActivationKind::Exp: return work(Exp{});
    case ActivationKind::Reciprocal: return work(Reciprocal{});
    default: return withEnd(kind, slope, std::forward<F>(work));
  }
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

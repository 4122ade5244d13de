// Charbonnier loss: sqrt(e^2 + epsilon^2), |e| with a smooth minimum (Charbonnier et al., ICIP 1994; epsilon as in Lai et
// al., LapSRN, CVPR 2017).
#pragma once
#include "core/losses/element.h"
#include "core/math/fastmath.h"

namespace wbsr::losses {
namespace {

struct Charbonnier {
  static constexpr const char* name = "charbonnier";
  static constexpr Balancing balancing = Balancing::None;
  template <typename T>
  WBSR_HD static inline T value(T e) {
    return math::squareRoot(e * e + T(1e-6));  // epsilon 1e-3
  }
  template <typename T>
  WBSR_HD static inline T gradient(T e) {
    return e / math::squareRoot(e * e + T(1e-6));
  }
};

}  // namespace
}  // namespace wbsr::losses

// Mean absolute error.
#pragma once
#include "core/losses/element.h"

namespace wbsr::losses {
namespace {

struct L1 {
  static constexpr const char* name = "l1";
  static constexpr Balancing balancing = Balancing::Clamped;
  template <typename T>
  WBSR_HD static inline T value(T e) {
    return e < 0 ? -e : e;
  }
  // The subgradient 0 at 0.
  template <typename T>
  WBSR_HD static inline T gradient(T e) {
    return (e > 0 ? T(1) : T(0)) - (e < 0 ? T(1) : T(0));
  }
};

}  // namespace
}  // namespace wbsr::losses

// Mean squared error.
#pragma once
#include "core/losses/element.h"

namespace wbsr::losses {
namespace {

struct L2 {
  static constexpr const char* name = "l2";
  static constexpr Balancing balancing = Balancing::Likelihood;
  template <typename T>
  WBSR_HD static inline T value(T e) {
    return e * e;
  }
  template <typename T>
  WBSR_HD static inline T gradient(T e) {
    return T(2) * e;
  }
};

}  // namespace
}  // namespace wbsr::losses

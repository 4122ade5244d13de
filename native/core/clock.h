#pragma once
#include <chrono>

namespace wbsr {

// Seconds since an arbitrary start, never going back.
inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace wbsr

// oneDNN as Debian ships it (API v2). The few places where API v3 differs are kept here.
#pragma once
#include <dnnl.hpp>

namespace wbsr::cpu {

// One for the process: primitives take memory of their own engine only, and threads share packed weights.
inline const dnnl::engine& cpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

}  // namespace wbsr::cpu

// The flag by which a caller stops a job: an element of an Int32Array that another thread may set at any time.
#pragma once
#include <cstdint>

namespace wbsr {

// false for a null pointer: a job that cannot be stopped.
inline bool isSet(const volatile int32_t* flag) { return flag && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0; }

}  // namespace wbsr

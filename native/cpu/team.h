// How many threads a parallel loop gets here.
#pragma once
#include <omp.h>

namespace wbsr::cpu {

// One where the caller is itself one of several threads, each of which runs a region through the network.
inline int teamSize() { return omp_in_parallel() ? 1 : omp_get_max_threads(); }

}  // namespace wbsr::cpu

// A test-only CUDA on the host: native/cuda compiles as plain C++ with this folder first on the include path and
// WBSR_HOST_CUDA defined, and runs on the CPU, where the sanitizers see what it does. Kernels: engine.h. The runtime
// API: api.h, implemented in runtime.cc and its neighbours. What tests steer: control.h.
#pragma once
#ifndef WBSR_HOST_CUDA
#error "test/native/cuda/host_cuda is on the include path of something that is not compiled for it"
#endif
#include <tuple>
#include <type_traits>
#include <utility>

#include "api.h"
#include "device_functions.h"
#include "engine.h"
#include "host_types.h"
#include "matrix_functions.h"

namespace wbsr::host_cuda {

// Queues the launch after the checks that a device makes too; cudaGetLastError reports failures.
void queueLaunch(Launch launch, cudaStream_t stream);

template <typename... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            std::type_identity_t<Parameters>... arguments) {
  queueLaunch(
      {reinterpret_cast<const void*>(kernel),
       [kernel, values = std::tuple<Parameters...>(arguments...)] { std::apply(kernel, values); }, grid, block, shared},
      stream);
}

}  // namespace wbsr::host_cuda

// What gradients of micro-batches are summed with: one addition and one product for each number, as on the host.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace wbsr::cuda {

// into[i] += values[i]
void addFloats(float* into, const float* values, int64_t count, cudaStream_t stream);
// out[i] = values[i] * factor
void scaleFloats(const float* values, float factor, float* out, int64_t count, cudaStream_t stream);

}  // namespace wbsr::cuda

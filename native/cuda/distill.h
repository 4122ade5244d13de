// In-place distillation on the device: what all subnets of a step but the first aim at (core/math/distill.h).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace wbsr::cuda {

// hr, teacher, out (count); out may be one of them.
void distill(const float* hr, const float* teacher, float* out, int64_t count, float share, cudaStream_t stream);

}  // namespace wbsr::cuda

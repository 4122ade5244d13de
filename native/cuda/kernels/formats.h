// Launchers that convert types and layouts (program/layout.h). The rules of operators/kernels.h hold for them.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/runtime.h"

namespace wbsr::cuda {

template <typename From, typename To>
void cast(const From* from, To* to, int64_t count, cudaStream_t stream);
// (N, 3, H, W) float <-> thin (N, H, W, 8) float; padding becomes 0. `copy` (may be null) receives the same in T.
template <typename T>
void planarToThin(const float* planar, float* thin, T* copy, int batch, int64_t pixels, cudaStream_t stream);
void thinToPlanar(const float* thin, float* planar, int batch, int64_t pixels, cudaStream_t stream);

}  // namespace wbsr::cuda

// Marks the formulas of this folder as callable from CUDA kernels too: one definition of the mathematics for
// every device (architecture.md).
#pragma once

#ifdef __CUDACC__
#define WBSR_HD __host__ __device__
#else
#define WBSR_HD
#endif

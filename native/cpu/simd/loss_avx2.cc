#define WBSR_LOSS_KERNEL lossKernelAvx2
#include "cpu/simd/loss_kernel.inc"

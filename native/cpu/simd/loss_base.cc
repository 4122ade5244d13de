#define WBSR_LOSS_KERNEL lossKernelBase
#include "cpu/simd/loss_kernel.inc"

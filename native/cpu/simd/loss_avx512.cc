#define WBSR_LOSS_KERNEL lossKernelAvx512
#include "cpu/simd/loss_kernel.inc"

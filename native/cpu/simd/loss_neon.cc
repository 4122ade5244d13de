#define WBSR_LOSS_KERNEL lossKernelNeon
#include "cpu/simd/loss_kernel.inc"

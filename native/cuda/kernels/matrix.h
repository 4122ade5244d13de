// Instructions of sm_80 and newer that CUDA C++ has no names for: products of small matrices by a warp on tensor cores,
// loads of their fragments, copies from global to shared memory that run beside the threads (PTX ISA, mma, ldmatrix,
// cp.async). In host builds host_cuda/matrix_functions.h does the same. All lanes of a warp call the warp's functions.
#pragma once
#include "cuda/runtime.h"

namespace wbsr::cuda {

#ifdef WBSR_HOST_CUDA

using host_cuda::commitCopies;
using host_cuda::copyAsync;
using host_cuda::loadMatrices;
using host_cuda::multiplyAddBf16;
using host_cuda::multiplyAddFp16;
using host_cuda::waitForCopies;

#else

__device__ inline unsigned sharedAddress(const void* shared) {
  return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// d (16 x 8) += a (16 x 16) b (16 x 8), sums in float. With g = lane / 4 and q = lane % 4 a lane has, two neighbours in a
// word, of a: (g, 2q), (g + 8, 2q), (g, 2q + 8), (g + 8, 2q + 8); of b, (row, column): (2q, g), (2q + 8, g), where the
// neighbour is the next row; and of d: (g, 2q), (g, 2q + 1), (g + 8, 2q), (g + 8, 2q + 1).
#define WBSR_MULTIPLY_ADD(name, type)                                                          \
  __device__ inline void name(float(&d)[4], const unsigned(&a)[4], unsigned b0, unsigned b1) { \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                 \
        ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                 \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                       \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                       \
  }
WBSR_MULTIPLY_ADD(multiplyAddBf16, "bf16")
WBSR_MULTIPLY_ADD(multiplyAddFp16, "f16")
#undef WBSR_MULTIPLY_ADD

// kCount (1, 2, 4) matrices of 8 x 8 elements of two bytes, whose rows are 16 aligned bytes each anywhere in shared
// memory. row: of lane 8 i + r, row r of matrix i; those of lanes beyond 8 kCount are not used. matrices[i]: of matrix i
// the elements (g, 2q), (g, 2q + 1); of its transpose where kTransposed.
template <int kCount, bool kTransposed = false>
__device__ inline void loadMatrices(unsigned (&matrices)[kCount], const void* row) {
  static_assert(kCount == 1 || kCount == 2 || kCount == 4);
  const unsigned address = sharedAddress(row);
#define WBSR_LOAD_MATRICES(transposed)                                                            \
  if constexpr (kCount == 1)                                                                      \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" transposed ".shared.b16 {%0}, [%1];"             \
                 : "=r"(matrices[0])                                                              \
                 : "r"(address)                                                                   \
                 : "memory");                                                                     \
  else if constexpr (kCount == 2)                                                                 \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" transposed ".shared.b16 {%0, %1}, [%2];"         \
                 : "=r"(matrices[0]), "=r"(matrices[1])                                           \
                 : "r"(address)                                                                   \
                 : "memory");                                                                     \
  else                                                                                            \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" transposed ".shared.b16 {%0, %1, %2, %3}, [%4];" \
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])     \
                 : "r"(address)                                                                   \
                 : "memory")
  if constexpr (kTransposed) {
    WBSR_LOAD_MATRICES(".trans");
  } else {
    WBSR_LOAD_MATRICES("");
  }
#undef WBSR_LOAD_MATRICES
}

// Queues a copy of 16 aligned bytes into shared memory; of zeros where not `real`, and nothing is read then. Until
// waitForCopies() the target holds anything, and afterwards other threads see it behind the next barrier.
__device__ inline void copyAsync(void* shared, const void* global, bool real = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(shared)), "l"(global),
               "r"(real ? 16 : 0)
               : "memory");
}
// The copies that the thread has queued since the last call are a group, which may be empty.
__device__ inline void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits for all of the thread's groups but the last kBehind.
template <int kBehind>
__device__ inline void waitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kBehind) : "memory");
}

#endif

}  // namespace wbsr::cuda

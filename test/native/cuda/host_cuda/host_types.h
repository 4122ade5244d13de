// Qualifiers and built-in types of CUDA C++ for the host compiler. Vector types have CUDA's alignment, so that
// UndefinedBehaviorSanitizer reports the misaligned vector access that a device would fault on.
#pragma once
#include <cstddef>
#include <cstdint>

#define __global__
#define __device__
#define __host__
#define __constant__
// One block runs at a time, so a static is what the threads of a block share.
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

#define HOST_CUDA_VECTORS(T, scalar, align2, align4)                          \
  struct T##1 { scalar x; };                                                  \
  struct alignas(align2) T##2 { scalar x, y; };                               \
  struct T##3 { scalar x, y, z; };                                            \
  struct alignas(align4) T##4 { scalar x, y, z, w; };                         \
  inline T##1 make_##T##1(scalar x) { return {x}; }                           \
  inline T##2 make_##T##2(scalar x, scalar y) { return {x, y}; }              \
  inline T##3 make_##T##3(scalar x, scalar y, scalar z) { return {x, y, z}; } \
  inline T##4 make_##T##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
HOST_CUDA_VECTORS(char, signed char, 2, 4)
HOST_CUDA_VECTORS(uchar, unsigned char, 2, 4)
HOST_CUDA_VECTORS(short, short, 4, 8)
HOST_CUDA_VECTORS(ushort, unsigned short, 4, 8)
HOST_CUDA_VECTORS(int, int, 8, 16)
HOST_CUDA_VECTORS(uint, unsigned, 8, 16)
HOST_CUDA_VECTORS(float, float, 8, 16)
HOST_CUDA_VECTORS(double, double, 16, 16)
HOST_CUDA_VECTORS(longlong, long long, 16, 16)
HOST_CUDA_VECTORS(ulonglong, unsigned long long, 16, 16)
#undef HOST_CUDA_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

// Threads of a block are fibers of one thread, and one launch runs at a time.
inline constinit uint3 threadIdx = {0, 0, 0}, blockIdx = {0, 0, 0};
inline constinit dim3 blockDim, gridDim;
constexpr int warpSize = 32;

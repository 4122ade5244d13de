// What kernels call: barriers, warp collectives, atomics, conversions and arithmetic that CUDA C++ has built in.
#pragma once
#include <math.h>

#include <cmath>
#include <cstring>

#include "engine.h"

#define HOST_CUDA_HERE std::source_location where = std::source_location::current()

// --- barriers and fences ---
inline void __syncthreads(HOST_CUDA_HERE) { wbsr::host_cuda::blockBarrier({"__syncthreads", where}); }
inline void __syncwarp(unsigned mask = 0xffffffffu, HOST_CUDA_HERE) {
  wbsr::host_cuda::warpBarrier(mask, {"__syncwarp", where});
}
// A read-modify-write, because ThreadSanitizer does not support fences.
namespace wbsr::host_cuda {
inline int fenceWord = 0;
}
inline void __threadfence() { __atomic_fetch_add(&wbsr::host_cuda::fenceWord, 1, __ATOMIC_ACQ_REL); }
inline void __threadfence_block() { __threadfence(); }

// --- warp collectives, of values of up to 8 bytes ---
namespace wbsr::host_cuda {
template <typename T>
uint64_t toBits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <typename T>
T fromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <typename Fold>
unsigned reduceWarp(unsigned mask, unsigned value, const Site& site, Fold fold) {
  const uint64_t* all = warpExchange(mask, value, site);
  const int lanes = laneCount();
  unsigned result = static_cast<unsigned>(all[0]);
  for (int i = 1; i < lanes; ++i) result = fold(result, static_cast<unsigned>(all[i]));
  return result;
}
}  // namespace wbsr::host_cuda

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, HOST_CUDA_HERE) {
  using namespace wbsr::host_cuda;
  const uint64_t* all = warpExchange(mask, toBits(value), {"__shfl_sync", where});
  return fromBits<T>(all[(laneOf() & ~(width - 1)) | (source & (width - 1))]);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize, HOST_CUDA_HERE) {
  using namespace wbsr::host_cuda;
  const uint64_t* all = warpExchange(mask, toBits(value), {"__shfl_up_sync", where});
  const int lane = laneOf(), source = lane - static_cast<int>(delta);
  return source < (lane & ~(width - 1)) ? value : fromBits<T>(all[source]);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize, HOST_CUDA_HERE) {
  using namespace wbsr::host_cuda;
  const uint64_t* all = warpExchange(mask, toBits(value), {"__shfl_down_sync", where});
  const int lane = laneOf(), source = lane + static_cast<int>(delta);
  return source > (lane | (width - 1)) ? value : fromBits<T>(all[source]);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int laneMask, int width = warpSize, HOST_CUDA_HERE) {
  using namespace wbsr::host_cuda;
  const uint64_t* all = warpExchange(mask, toBits(value), {"__shfl_xor_sync", where});
  const int lane = laneOf(), source = lane ^ laneMask;
  return source > (lane | (width - 1)) ? value : fromBits<T>(all[source]);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  using namespace wbsr::host_cuda;
  const uint64_t* all = warpExchange(mask, predicate != 0, {"__ballot_sync", where});
  const int lanes = laneCount();
  unsigned result = 0;
  for (int i = 0; i < lanes; ++i) result |= static_cast<unsigned>(all[i]) << i;
  return result;
}
inline int __any_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, HOST_CUDA_HERE) {
  return __ballot_sync(mask, predicate, where) == 0xffffffffu >> (warpSize - wbsr::host_cuda::laneCount());
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value, HOST_CUDA_HERE) {
  return wbsr::host_cuda::reduceWarp(mask, value, {"__reduce_add_sync", where},
                                     [](unsigned a, unsigned b) { return a + b; });
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, HOST_CUDA_HERE) {
  return wbsr::host_cuda::reduceWarp(mask, value, {"__reduce_or_sync", where},
                                     [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, HOST_CUDA_HERE) {
  return wbsr::host_cuda::reduceWarp(mask, value, {"__reduce_max_sync", where},
                                     [](unsigned a, unsigned b) { return a > b ? a : b; });
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, HOST_CUDA_HERE) {
  return wbsr::host_cuda::reduceWarp(mask, value, {"__reduce_min_sync", where},
                                     [](unsigned a, unsigned b) { return a < b ? a : b; });
}

// --- atomics: relaxed, as on a device ---
namespace wbsr::host_cuda {
template <typename T, typename Change>
T atomicChange(T* address, Change change) {
  T old;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  for (;;) {
    T wanted = change(old);
    if (__atomic_compare_exchange(address, &old, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return old;
  }
}
}  // namespace wbsr::host_cuda
#define HOST_CUDA_ATOMIC(name, T, expression)                                                  \
  inline T name(T* address, T value) {                                                         \
    return wbsr::host_cuda::atomicChange(address, [value](T old) -> T { return expression; }); \
  }
#define HOST_CUDA_ATOMIC_INTEGERS(name, expression) \
  HOST_CUDA_ATOMIC(name, int, expression)           \
  HOST_CUDA_ATOMIC(name, unsigned, expression)      \
  HOST_CUDA_ATOMIC(name, unsigned long long, expression)
HOST_CUDA_ATOMIC_INTEGERS(atomicAdd, old + value)
HOST_CUDA_ATOMIC(atomicAdd, float, old + value)
HOST_CUDA_ATOMIC(atomicAdd, double, old + value)
HOST_CUDA_ATOMIC(atomicSub, int, old - value)
HOST_CUDA_ATOMIC(atomicSub, unsigned, old - value)
HOST_CUDA_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
HOST_CUDA_ATOMIC_INTEGERS(atomicMax, old > value ? old : value)
HOST_CUDA_ATOMIC_INTEGERS(atomicAnd, old& value)
HOST_CUDA_ATOMIC_INTEGERS(atomicOr, old | value)
HOST_CUDA_ATOMIC_INTEGERS(atomicXor, old ^ value)
HOST_CUDA_ATOMIC_INTEGERS(atomicExch, (static_cast<void>(old), value))
HOST_CUDA_ATOMIC(atomicExch, float, (static_cast<void>(old), value))
HOST_CUDA_ATOMIC(atomicInc, unsigned, old >= value ? 0u : old + 1)
HOST_CUDA_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
#undef HOST_CUDA_ATOMIC_INTEGERS
#undef HOST_CUDA_ATOMIC
template <typename T>
T atomicCAS(T* address, T compare, T value) {
  return wbsr::host_cuda::atomicChange(address, [=](T old) { return old == compare ? value : old; });
}

// --- loads and stores with cache hints ---
template <typename T>
T __ldg(const T* p) {
  return *p;
}
template <typename T>
T __ldcs(const T* p) {
  return *p;
}
template <typename T>
T __ldcg(const T* p) {
  return *p;
}
template <typename T>
void __stcs(T* p, T value) {
  *p = value;
}
template <typename T>
void __stcg(T* p, T value) {
  *p = value;
}

// --- bits ---
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __float_as_int(float x) { return wbsr::host_cuda::fromBits<int>(wbsr::host_cuda::toBits(x)); }
inline unsigned __float_as_uint(float x) { return wbsr::host_cuda::fromBits<unsigned>(wbsr::host_cuda::toBits(x)); }
inline float __int_as_float(int x) { return wbsr::host_cuda::fromBits<float>(wbsr::host_cuda::toBits(x)); }
inline float __uint_as_float(unsigned x) { return wbsr::host_cuda::fromBits<float>(wbsr::host_cuda::toBits(x)); }
inline long long __double_as_longlong(double x) {
  return wbsr::host_cuda::fromBits<long long>(wbsr::host_cuda::toBits(x));
}
inline double __longlong_as_double(long long x) {
  return wbsr::host_cuda::fromBits<double>(wbsr::host_cuda::toBits(x));
}

// --- arithmetic ---
#define HOST_CUDA_MINMAX(A, B, T)                                                                                  \
  inline T min(A a, B b) { return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(a) : static_cast<T>(b); } \
  inline T max(A a, B b) { return static_cast<T>(a) > static_cast<T>(b) ? static_cast<T>(a) : static_cast<T>(b); }
HOST_CUDA_MINMAX(int, int, int)
HOST_CUDA_MINMAX(unsigned, unsigned, unsigned)
HOST_CUDA_MINMAX(int, unsigned, unsigned)
HOST_CUDA_MINMAX(unsigned, int, unsigned)
HOST_CUDA_MINMAX(long, long, long)
HOST_CUDA_MINMAX(unsigned long, unsigned long, unsigned long)
HOST_CUDA_MINMAX(long long, long long, long long)
HOST_CUDA_MINMAX(unsigned long long, unsigned long long, unsigned long long)
#undef HOST_CUDA_MINMAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __saturatef(float x) { return x > 0.f ? (x < 1.f ? x : 1.f) : 0.f; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline int __float2int_rn(float x) { return static_cast<int>(nearbyintf(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline unsigned __float2uint_rn(float x) { return static_cast<unsigned>(nearbyintf(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline int __mul24(int a, int b) { return a * b; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t{a} * b) >> 32); }
#undef HOST_CUDA_HERE

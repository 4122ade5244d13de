// Vectors of eight neighbouring elements of bf16 or float: 16-byte accesses, arithmetic in float. Channel counts are
// multiples of eight (layout.h), so a vector never spans two pixels.
#pragma once
#include "core/math/fastmath.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

constexpr int kVector = 8;

// As they are stored. Kernels load several of them before they use the first, because loads in flight hide the memory's
// latency.
template <typename T>
struct Raw;
template <>
struct Raw<float> {
  float4 low, high;
};
template <>
struct Raw<bf16> {
  uint4 bits;
};

// p: 16-byte aligned.
__device__ inline Raw<float> loadRaw(const float* p) {
  const float4* from = reinterpret_cast<const float4*>(p);
  return {from[0], from[1]};
}
__device__ inline Raw<bf16> loadRaw(const bf16* p) { return {*reinterpret_cast<const uint4*>(p)}; }

__device__ inline void unpack(const Raw<float>& raw, float (&v)[kVector]) {
  v[0] = raw.low.x, v[1] = raw.low.y, v[2] = raw.low.z, v[3] = raw.low.w;
  v[4] = raw.high.x, v[5] = raw.high.y, v[6] = raw.high.z, v[7] = raw.high.w;
}
// A bf16 is the upper half of a float.
__device__ inline void unpack(const Raw<bf16>& raw, float (&v)[kVector]) {
  const unsigned words[4] = {raw.bits.x, raw.bits.y, raw.bits.z, raw.bits.w};
  for (int i = 0; i < 4; ++i) {
    v[2 * i] = math::bitsFloat(static_cast<int>(words[i] << 16));
    v[2 * i + 1] = math::bitsFloat(static_cast<int>(words[i] & 0xffff0000u));
  }
}

template <typename T>
__device__ inline void load(const T* p, float (&v)[kVector]) {
  unpack(loadRaw(p), v);
}

__device__ inline void store(float* p, const float (&v)[kVector]) {
  float4* to = reinterpret_cast<float4*>(p);
  to[0] = make_float4(v[0], v[1], v[2], v[3]);
  to[1] = make_float4(v[4], v[5], v[6], v[7]);
}
// Rounds to nearest, ties to even.
__device__ inline void store(bf16* p, const float (&v)[kVector]) {
  unsigned words[4];
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
    __builtin_memcpy(&words[i], &pair, sizeof pair);
  }
  *reinterpret_cast<uint4*>(p) = make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ inline float toFloat(float x) { return x; }
__device__ inline float toFloat(bf16 x) { return __bfloat162float(x); }
template <typename T>
__device__ inline T fromFloat(float x);
template <>
__device__ inline float fromFloat<float>(float x) {
  return x;
}
template <>
__device__ inline bf16 fromFloat<bf16>(float x) {
  return __float2bfloat16(x);
}

}  // namespace wbsr::cuda

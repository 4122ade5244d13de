// The engine of the CUDA on the host (host_cuda/): that it computes what a device would, and that bugs planted in kernels
// are found: the program runs itself with the name of a bug and looks at how it ended.
#include <unistd.h>

#include <cfloat>
#include <climits>
#include <functional>
#include <map>

#include "cuda/runtime.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool withTsan = true, withAsan = false;
#elif defined(__SANITIZE_ADDRESS__)
constexpr bool withTsan = false, withAsan = true;
#else
constexpr bool withTsan = false, withAsan = false;
#endif

constexpr unsigned all = 0xffffffffu;

// --- kernels that are right ---

// out (blocks): sums, each of the elements that a block takes in turn.
__global__ void sumKernel(const float* in, float* out, int count) {
  __shared__ float partial[32];
  float sum = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(count);
       i += gridDim.x * blockDim.x)
    sum += in[i];
  for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(all, sum, d);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.f;
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(all, sum, d);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
  }
}

// Inclusive prefix sums of each block, a barrier in every round.
__global__ void scanKernel(int* x) {
  WBSR_SHARED(int, buffer);
  const int i = static_cast<int>(threadIdx.x);
  x += blockIdx.x * blockDim.x;
  buffer[i] = x[i];
  __syncthreads();
  for (int d = 1; d < static_cast<int>(blockDim.x); d *= 2) {
    const int add = i >= d ? buffer[i - d] : 0;
    __syncthreads();
    buffer[i] += add;
    __syncthreads();
  }
  x[i] = buffer[i];
}

// bins (8); total: the last block to end adds them up, as the reductions of native/cuda do.
__global__ void histogramKernel(const unsigned* in, int count, unsigned* bins, unsigned* ticket, unsigned* total) {
  __shared__ unsigned local[8];
  __shared__ bool last;
  if (threadIdx.x < 8) local[threadIdx.x] = 0;
  __syncthreads();
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(count);
       i += gridDim.x * blockDim.x)
    atomicAdd(&local[in[i] % 8], 1u);
  __syncthreads();
  if (threadIdx.x < 8) atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1;
  __syncthreads();
  if (last && threadIdx.x == 0) {
    unsigned sum = 0;
    for (int i = 0; i < 8; ++i) sum += bins[i];
    *total = sum;
  }
}

// out (10, threads): the result of each collective in each lane, of values that identify the lane.
__global__ void collectivesKernel(long long* out) {
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x), lane = i % 32;
  out[i] = __shfl_sync(all, lane * 3, 5);
  out[n + i] = __shfl_sync(all, lane, lane + 1, 8);
  out[2 * n + i] = __shfl_up_sync(all, static_cast<unsigned>(lane), 3u);
  out[3 * n + i] = static_cast<long long>(__shfl_down_sync(all, static_cast<float>(lane), 4u, 16));
  out[4 * n + i] = static_cast<long long>(__shfl_xor_sync(all, static_cast<double>(lane), 7));
  out[5 * n + i] = __shfl_sync(all, lane * 5000000000ll, 1);
  out[6 * n + i] = __ballot_sync(all, lane % 3 == 0);
  out[7 * n + i] = __any_sync(all, lane == 2);
  out[8 * n + i] = __all_sync(all, lane < 32);
  out[9 * n + i] = __reduce_add_sync(all, static_cast<unsigned>(lane));
}

// Lanes exchange values through shared memory.
__global__ void rotateKernel(const int* in, int* out, bool barrier) {
  __shared__ int buffer[64];
  const int i = static_cast<int>(threadIdx.x);
  buffer[i] = in[i];
  if (barrier)
    __syncwarp();
  else
    __shfl_sync(all, 0, 0);  // orders nothing
  out[i] = buffer[i / 32 * 32 + (i + 1) % 32];
}

__global__ void atomicsKernel(int* i, unsigned* u, float* f, double* d, unsigned long long* l) {
  atomicAdd(i, 2);
  atomicMax(i + 1, static_cast<int>(threadIdx.x));
  atomicMin(i + 2, -static_cast<int>(threadIdx.x));
  atomicExch(i + 3, 7);
  atomicOr(u, 1u << threadIdx.x % 32);
  atomicInc(u + 1, 9u);
  atomicCAS(u + 2, threadIdx.x, threadIdx.x + 1);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  atomicAdd(l, 1ull << 33);
}

__global__ void indexKernel(unsigned* out) {
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

// --- kernels with optional bugs ---

__global__ void reverseKernel(float* x, bool barrier) {
  WBSR_SHARED(float, buffer);
  buffer[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  if (barrier) __syncthreads();
  x[blockIdx.x * blockDim.x + threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}
// The second barrier of the loop is missing.
__global__ void loopKernel(float* x) {
  __shared__ float value;
  for (int i = 0; i < 4; ++i) {
    if (threadIdx.x == 0) value = x[i];
    __syncthreads();
    x[4 + threadIdx.x] += value;
  }
}
__global__ void halfBarrierKernel() {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void twoBarriersKernel() {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
}
__global__ void halfWarpKernel(int* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = __shfl_sync(all, 1, 0);
}
__global__ void maskKernel(int* out) { out[threadIdx.x] = __shfl_sync(0xffffu, 1, 0); }
__global__ void fillKernel(float* x, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) x[i] = 1.f;
}
__global__ void vectorKernel(const float* in, float4* out) { *out = *reinterpret_cast<const float4*>(in); }
__global__ void sameWordKernel(float* x) { x[0] = static_cast<float>(threadIdx.x); }
__global__ void uninitialisedKernel(float* out) {
  WBSR_SHARED(float, buffer);
  out[threadIdx.x] = buffer[threadIdx.x];
}

const std::map<std::string, std::function<void()>> planted = {
    {"missing barrier",
     [] {
       DeviceArray<float> x(randomVector(256, 1));
       cuda::launch(reverseKernel, 4, 64, 256, nullptr, x.data(), false);
     }},
    {"missing second barrier",
     [] {
       DeviceArray<float> x(randomVector(68, 1));
       cuda::launch(loopKernel, 1, 64, 0, nullptr, x.data());
     }},
    {"missing warp barrier",
     [] {
       DeviceArray<int> x(64), y(64);
       cuda::launch(rotateKernel, 1, 64, 0, nullptr, x.data(), y.data(), false);
     }},
    {"one word for all",
     [] {
       DeviceArray<float> x(1);
       cuda::launch(sameWordKernel, 1, 64, 0, nullptr, x.data());
     }},
    {"shared memory too small",
     [] {
       DeviceArray<float> x(randomVector(256, 1));
       cuda::launch(reverseKernel, 4, 64, 252, nullptr, x.data(), true);
     }},
    {"beyond the memory",
     [] {
       float* x;
       CUDA_OK(cudaMalloc(&x, 100));
       cuda::launch(fillKernel, 1, 32, 0, nullptr, x, 26);
       CUDA_OK(cudaFree(x));
     }},
    {"freed memory",
     [] {
       float* x;
       CUDA_OK(cudaMalloc(&x, 100));
       CUDA_OK(cudaFree(x));
       cuda::launch(fillKernel, 1, 32, 0, nullptr, x, 25);
     }},
    {"beyond the array",
     [] {
       DeviceArray<float> x(25);
       cuda::launch(fillKernel, 1, 32, 0, nullptr, x.data(), 26);
     }},
    {"half a barrier", [] { cuda::launch(halfBarrierKernel, 4, 64, 0, nullptr); }},
    {"two barriers", [] { cuda::launch(twoBarriersKernel, 4, 64, 0, nullptr); }},
    {"half a warp",
     [] {
       DeviceArray<int> x(64);
       cuda::launch(halfWarpKernel, 1, 64, 0, nullptr, x.data());
     }},
    {"half a mask",
     [] {
       DeviceArray<int> x(64);
       cuda::launch(maskKernel, 1, 64, 0, nullptr, x.data());
     }},
    {"misaligned vector",
     [] {
       DeviceArray<float> x(8), y(4);
       cuda::launch(vectorKernel, 1, 1, 0, nullptr, x.data() + 1, reinterpret_cast<float4*>(y.data()));
     }},
    {"host reads device memory",
     [] {
       DeviceArray<float> x(8);
       std::printf("%g\n", static_cast<double>(x.data()[3]));
     }},
    {"leak",
     [] {
       float* x;
       CUDA_OK(cudaMalloc(&x, 100));
       x = nullptr;
     }},
};

// The bug must end the program in failure, with a message that has all of `words`.
void mustFind(const std::string& bug, const std::vector<std::string>& words) {
  FILE* pipe = popen(("/proc/" + std::to_string(getpid()) + "/exe '" + bug + "' 2>&1").c_str(), "r");
  std::string output;
  char part[4096];
  for (size_t n; pipe && (n = fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, n);
  const int status = pipe ? pclose(pipe) : 0;
  check(status != 0, "planted bug '" + bug + "' makes the program fail");
  for (const auto& word : words)
    check(output.find(word) != std::string::npos,
          "planted bug '" + bug + "': '" + word + "' is in\n" + output.substr(0, 3000));
}

// --- the checks ---

void checkReductions() {
  const int count = 10007;
  const auto in = randomVector(count, 7);
  for (const unsigned threads : {32u, 96u, 256u, 1024u}) {
    const unsigned blocks = 13;
    DeviceArray<float> x(in), y(blocks);
    cuda::launch(sumKernel, blocks, threads, 0, nullptr, x.data(), y.data(), count);
    std::vector<double> expected(blocks);
    for (int i = 0; i < count; ++i) expected[static_cast<unsigned>(i) / threads % blocks] += in[static_cast<size_t>(i)];
    closeTo(y.download(), expected, 1e-4, 1e-5, "sums of " + std::to_string(threads) + " threads");
  }
  for (const unsigned threads : {1u, 31u, 33u, 100u, 512u}) {
    std::vector<int> values(3 * threads), expected(3 * threads);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<int>(i * i % 17) - 5;
      expected[i] = values[i] + (i % threads ? expected[i - 1] : 0);
    }
    DeviceArray<int> x(values);
    cuda::launch(scanKernel, 3, threads, threads * sizeof(int), nullptr, x.data());
    sameBits(x.download(), expected, "prefix sums of " + std::to_string(threads));
  }
}

void checkAtomics() {
  std::vector<unsigned> in(5000), expected(8);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<unsigned>(i * 2654435761u >> 7), ++expected[in[i] % 8];
  DeviceArray<unsigned> x(in), bins(8), ticket(1), total(1);
  ticket.zero();
  for (int round = 0; round < 2; ++round) {
    bins.zero();
    cuda::launch(histogramKernel, 7, 96, 0, nullptr, x.data(), static_cast<int>(in.size()), bins.data(), ticket.data(),
                 total.data());
    sameBits(bins.download(), expected, "histogram");
    check(total.download()[0] == in.size(), "the last block sees what all wrote");
    check(ticket.download()[0] == 0, "the ticket begins anew");
  }
  DeviceArray<int> i(std::vector<int>{1, -1, 1, 0});
  DeviceArray<unsigned> u(std::vector<unsigned>{0, 0, 0});
  DeviceArray<float> f(std::vector<float>{1});
  DeviceArray<double> d(std::vector<double>{1});
  DeviceArray<unsigned long long> l(std::vector<unsigned long long>{1});
  cuda::launch(atomicsKernel, 1, 64, 0, nullptr, i.data(), u.data(), f.data(), d.data(), l.data());
  sameBits(i.download(), {129, 63, -63, 7}, "atomics on int");
  sameBits(u.download(), {0xffffffffu, 4u, 64u}, "atomics on unsigned");
  check(f.download()[0] == 33.f && d.download()[0] == 17. && l.download()[0] == (64ull << 33) + 1,
        "atomicAdd on float, double and 64 bits");
}

void checkCollectives() {
  for (const int n : {32, 64, 45}) {
    DeviceArray<long long> out(static_cast<size_t>(10 * n));
    cuda::launch(collectivesKernel, 1, static_cast<unsigned>(n), 0, nullptr, out.data());
    const auto actual = out.download();
    for (int i = 0; i < n; ++i) {
      const int lane = i % 32, lanes = std::min(32, n - i / 32 * 32);
      const auto at = [&](int row) { return actual[static_cast<size_t>(row * n + i)]; };
      const std::string where = " in thread " + std::to_string(i) + " of " + std::to_string(n);
      check(at(0) == 15, "shuffle from one lane" + where);
      if (lane / 8 * 8 + (lane + 1) % 8 < lanes)
        check(at(1) == lane / 8 * 8 + (lane + 1) % 8, "shuffle in a part of the warp" + where);
      check(at(2) == (lane < 3 ? lane : lane - 3), "shuffle up" + where);
      const int down = lane % 16 + 4 > 15 ? lane : lane + 4;
      if (down < lanes) check(at(3) == down, "shuffle down in half a warp" + where);
      if ((lane ^ 7) < lanes) check(at(4) == (lane ^ 7), "shuffle across" + where);
      check(at(5) == 5000000000ll, "shuffle of 64 bits" + where);
      long long ballot = 0;
      for (int k = 0; k < lanes; k += 3) ballot |= 1ll << k;
      check(at(6) == ballot, "ballot" + where);
      check(at(7) == 1 && at(8) == 1, "any, all" + where);
      check(at(9) == lanes * (lanes - 1) / 2, "sum of a warp" + where);
    }
  }
  std::vector<int> in(64), expected(64);
  for (int i = 0; i < 64; ++i) in[static_cast<size_t>(i)] = i * i;
  for (int i = 0; i < 64; ++i) expected[static_cast<size_t>(i)] = in[static_cast<size_t>(i / 32 * 32 + (i + 1) % 32)];
  DeviceArray<int> x(in), y(64);
  cuda::launch(rotateKernel, 1, 64, 0, nullptr, x.data(), y.data(), true);
  sameBits(y.download(), expected, "values handed on within a warp");
}

void checkIndices() {
  const dim3 grid(3, 2, 4), block(5, 3, 2);
  DeviceArray<unsigned> out(24 * 30);
  cuda::launch(indexKernel, grid, block, 0, nullptr, out.data());
  std::vector<unsigned> expected(24 * 30);
  for (unsigned i = 0; i < expected.size(); ++i) expected[i] = i / 30 * 1000 + i % 30;
  sameBits(out.download(), expected, "indices of threads and blocks");
  DeviceArray<float> spoilt(32);
  cuda::launch(uninitialisedKernel, 1, 32, 128, nullptr, spoilt.data());
  const auto values = spoilt.download();
  check(std::isnan(values[0]) && std::isnan(values[31]), "shared memory begins as NaN");
}

// The nearest bfloat16 by its definition: of the two neighbours the nearer, of two equally near the even one.
unsigned short nearestBf16(float value) {
  const auto widen = [](unsigned bits) { return static_cast<double>(__uint_as_float(bits << 16)); };
  const unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u;
  if (std::isnan(value)) return 0x7fff;
  if (std::isinf(value)) return static_cast<unsigned short>(bits >> 16);
  const unsigned low = bits >> 16 & 0x7fffu, high = low + 1;
  // Beyond the largest number the next step of the grid means infinity.
  const double above = high == 0x7f80u ? std::ldexp(1., 128) : widen(high), x = std::fabs(static_cast<double>(value));
  const double down = x - widen(low), up = above - x;
  return static_cast<unsigned short>(sign | (down < up ? low : up < down ? high : low % 2 ? high : low));
}

void checkBf16() {
  size_t wrong = 0;
  const auto one = [&](float value) { wrong += __bfloat16_as_ushort(__float2bfloat16(value)) != nearestBf16(value); };
  for (const float value : {0.f, -0.f, 1.f, 1.00390625f, 1.01171875f, FLT_MAX, -FLT_MAX, FLT_MIN, FLT_TRUE_MIN,
                            INFINITY, -INFINITY, NAN, -NAN, 3.3895e38f})
    one(value);
  uint64_t state = 9;
  for (int i = 0; i < 1000000; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    one(__uint_as_float(static_cast<unsigned>(state >> 32)));
  }
  for (unsigned b = 0; b < 65536; ++b) {
    const unsigned exponent = b & 0x7f80u;
    const float value = __bfloat162float(__ushort_as_bfloat16(static_cast<unsigned short>(b)));
    if (exponent != 0x7f80u || (b & 0x7fu) == 0) wrong += __bfloat16_as_ushort(__float2bfloat16(value)) != b;
    one(__uint_as_float(b << 16 | 0x8000u));  // ties
    one(__uint_as_float(b << 16 | 0x7fffu));
    one(__uint_as_float(b << 16 | 0x8001u));
  }
  check(wrong == 0, "bfloat16 rounds to nearest even (" + std::to_string(wrong) + " are wrong)");
  const __nv_bfloat162 pair = __floats2bfloat162_rn(1.5f, -2.f);
  const float2 wide = __bfloat1622float2(pair);
  check(wide.x == 1.5f && wide.y == -2.f && __low2float(pair) == 1.5f && __high2float(pair) == -2.f,
        "pairs of bfloat16");
}

void checkPlanted() {
  mustFind("half a barrier", {"threads wait for ever", "halfBarrierKernel", "40 of 64 at __syncthreads",
                              "host_cuda_check.cc", "24 have ended"});
  mustFind("two barriers", {"wait at different places", "twoBarriersKernel", "thread 32"});
  mustFind("half a warp", {"threads wait for ever", "halfWarpKernel", "32 of 64 at __shfl_sync"});
  mustFind("half a mask", {"only masks of the whole warp"});
  if (withTsan) {
    for (const char* bug : {"missing barrier", "missing second barrier", "missing warp barrier", "one word for all"})
      mustFind(bug, {"data race", "Kernel"});
  }
  if (withAsan) {
    mustFind("shared memory too small", {"heap-buffer-overflow", "reverseKernel"});
    mustFind("beyond the memory", {"heap-buffer-overflow", "fillKernel"});
    mustFind("freed memory", {"heap-use-after-free", "fillKernel"});
    mustFind("misaligned vector", {"misaligned address", "float4"});
    mustFind("host reads device memory", {"use-after-poison"});
    mustFind("leak", {"detected memory leaks"});
  }
  mustFind("beyond the array", {"4 bytes written behind the array"});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    planted.at(argv[1])();
    return failures > 0;
  }
  checkReductions();
  checkAtomics();
  checkCollectives();
  checkIndices();
  checkBf16();
  checkPlanted();
  check(host_cuda::live().none(), "nothing is left: " + host_cuda::live().text());
  return finish();
}

// The CUDA on the host's mma, ldmatrix and cp.async (native/cuda/kernels/matrix.h) against the fragment layouts of the PTX
// ISA, and that it finds what is wrong in kernels that use them: the program runs itself with the name of a bug.
#include <unistd.h>

#include <functional>
#include <map>

#include "cuda/kernels/matrix.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

using Half = unsigned short;  // bits

// The layouts of "Matrix Fragments for mma.m16n8k16 with floating point type", element i of a lane.
struct Place {
  int row, column;
};
Place placeOfA(int lane, int i) { return {lane / 4 + (i % 4 >= 2 ? 8 : 0), lane % 4 * 2 + i % 2 + (i >= 4 ? 8 : 0)}; }
Place placeOfB(int lane, int i) { return {lane % 4 * 2 + i % 2 + (i >= 2 ? 8 : 0), lane / 4}; }
Place placeOfC(int lane, int i) { return {lane / 4 + (i >= 2 ? 8 : 0), lane % 4 * 2 + i % 2}; }

// a (16, 16), b (16, 8), d (16, 8), rows together; every lane reads its elements one by one.
__global__ void multiplyKernel(const Half* a, const Half* b, float* d, bool fp16) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  unsigned wordsA[4] = {}, wordsB[2] = {};
  float sum[4];
  for (int i = 0; i < 8; ++i) {
    const Place p = placeOfA(lane, i);
    wordsA[i / 2] |= unsigned{a[p.row * 16 + p.column]} << (16 * (i % 2));
  }
  for (int i = 0; i < 4; ++i) {
    const Place p = placeOfB(lane, i), c = placeOfC(lane, i);
    wordsB[i / 2] |= unsigned{b[p.row * 8 + p.column]} << (16 * (i % 2));
    sum[i] = d[c.row * 8 + c.column];
  }
  if (fp16)
    multiplyAddFp16(sum, wordsA, wordsB[0], wordsB[1]);
  else
    multiplyAddBf16(sum, wordsA, wordsB[0], wordsB[1]);
  __syncwarp();
  for (int i = 0; i < 4; ++i) {
    const Place c = placeOfC(lane, i);
    d[c.row * 8 + c.column] = sum[i];
  }
}

// The same, fragments loaded from shared memory: a as it lies, b's transpose from b as it lies, d = a b.
__global__ void loadedKernel(const Half* a, const Half* b, float* d) {
  alignas(16) __shared__ Half shared[16 * 16 + 16 * 8];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 16 * 16 + 16 * 8; i += 32) shared[i] = i < 256 ? a[i] : b[i - 256];
  __syncwarp();
  unsigned wordsA[4], wordsB[2];
  loadMatrices(wordsA, shared + lane % 16 * 16 + lane / 16 * 8);
  loadMatrices<2, true>(wordsB, shared + 256 + lane % 16 * 8);
  float sum[4] = {};
  multiplyAddBf16(sum, wordsA, wordsB[0], wordsB[1]);
  for (int i = 0; i < 4; ++i) {
    const Place c = placeOfC(lane, i);
    d[c.row * 8 + c.column] = sum[i];
  }
}

// out (32 lanes, kCount words) of matrices whose element is 64 x matrix + 8 x row + column.
template <int kCount, bool kTransposed>
__global__ void loadKernel(unsigned* out) {
  alignas(16) __shared__ Half shared[4 * 64];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 4 * 64; i += 32) shared[i] = static_cast<Half>(i);
  __syncwarp();
  unsigned words[kCount];
  loadMatrices<kCount, kTransposed>(words, lane < 8 * kCount ? shared + 8 * lane : nullptr);
  for (int i = 0; i < kCount; ++i) out[lane * kCount + i] = words[i];
}

// out[t] of copies that threads make for each other, in three groups of which the last is empty.
__global__ void copyKernel(const uint4* in, uint4* out, bool wait, bool barrier) {
  WBSR_SHARED(uint4, shared);
  const unsigned t = threadIdx.x, other = (t + 1) % blockDim.x;
  copyAsync(shared + t, in + t);
  commitCopies();
  copyAsync(shared + blockDim.x + t, in + blockDim.x + t, t % 2 == 0);
  commitCopies();
  commitCopies();
  if (wait) waitForCopies<2>();
  if (barrier) __syncthreads();
  out[t] = shared[other];
  waitForCopies<1>();
  __syncthreads();
  out[blockDim.x + t] = shared[blockDim.x + other];
}

__global__ void forgottenKernel(const uint4* in) {
  WBSR_SHARED(uint4, shared);
  copyAsync(shared + threadIdx.x, in + threadIdx.x);
}
__global__ void misalignedKernel(const unsigned char* in) {
  WBSR_SHARED(unsigned char, shared);
  copyAsync(shared, in + 8);
}
__global__ void unalignedRowKernel() {
  alignas(16) __shared__ Half shared[72];
  for (int i = static_cast<int>(threadIdx.x); i < 72; i += 32) shared[i] = 0;
  __syncwarp();
  unsigned words[1];
  loadMatrices(words, shared + 8 * (threadIdx.x % 8) + 4);
}
__global__ void halfWarpKernel() {
  float sum[4] = {};
  const unsigned a[4] = {};
  if (threadIdx.x < 16) multiplyAddBf16(sum, a, 0, 0);
}

std::vector<uint4> vectors(size_t count) {
  std::vector<uint4> values(count);
  for (unsigned i = 0; i < count; ++i) values[i] = {i, i + 1, ~i, 7 * i};
  return values;
}

const std::map<std::string, std::function<void()>> planted = {
    {"no wait",
     [] {
       DeviceArray<uint4> in(vectors(128)), out(128);
       cuda::launch(copyKernel, 1, 64, 2048, nullptr, in.data(), out.data(), false, true);
       const auto got = out.download();
       sameBits(std::vector<uint4>(got.begin(), got.begin() + 1), {in.download()[1]}, "what was copied");
     }},
    {"no barrier",
     [] {
       DeviceArray<uint4> in(vectors(128)), out(128);
       cuda::launch(copyKernel, 1, 64, 2048, nullptr, in.data(), out.data(), true, false);
     }},
    {"forgotten",
     [] {
       DeviceArray<uint4> in(vectors(32));
       cuda::launch(forgottenKernel, 1, 32, 512, nullptr, in.data());
     }},
    {"misaligned",
     [] {
       DeviceArray<unsigned char> in(64);
       cuda::launch(misalignedKernel, 1, 1, 16, nullptr, in.data());
     }},
    {"unaligned row", [] { cuda::launch(unalignedRowKernel, 1, 32, 0, nullptr); }},
    {"half a warp", [] { cuda::launch(halfWarpKernel, 1, 32, 0, nullptr); }},
    {"a small block", [] { cuda::launch(halfWarpKernel, 1, 16, 0, nullptr); }},
};

void mustFind(const std::string& bug, const std::string& words) {
  FILE* pipe = popen(("/proc/" + std::to_string(getpid()) + "/exe '" + bug + "' 2>&1").c_str(), "r");
  std::string output;
  char part[4096];
  for (size_t n; pipe && (n = fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, n);
  check((pipe ? pclose(pipe) : 0) != 0, "planted bug '" + bug + "' makes the program fail");
  check(output.find(words) != std::string::npos, "planted bug '" + bug + "' is found: " + output.substr(0, 2000));
}

// Small whole numbers, whose products and sums are exact in any order.
std::vector<Half> numbers(size_t count, unsigned seed, bool fp16) {
  std::vector<Half> values(count);
  for (size_t i = 0; i < count; ++i) {
    const int number = static_cast<int>((i * 2654435761u + seed * 40503u) >> 7 & 15) - 8;
    const unsigned bits = __float_as_uint(static_cast<float>(number));
    // Numbers of up to four bits have all of these in either type.
    values[i] = static_cast<Half>(!fp16 ? bits >> 16
                                  : number == 0
                                      ? 0
                                      : (bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
  }
  return values;
}
int numberAt(size_t i, unsigned seed) { return static_cast<int>((i * 2654435761u + seed * 40503u) >> 7 & 15) - 8; }

void checkProducts() {
  for (const bool fp16 : {false, true}) {
    const DeviceArray<Half> a(numbers(256, 1, fp16)), b(numbers(128, 2, fp16));
    std::vector<float> before(128), expected(128);
    for (size_t i = 0; i < 128; ++i) {
      before[i] = expected[i] = static_cast<float>(numberAt(i, 3));
      for (size_t k = 0; k < 16; ++k)
        expected[i] += static_cast<float>(numberAt(i / 8 * 16 + k, 1) * numberAt(k * 8 + i % 8, 2));
    }
    DeviceArray<float> d(before);
    cuda::launch(multiplyKernel, 1, 32, 0, nullptr, a.data(), b.data(), d.data(), fp16);
    sameBits(d.download(), expected, fp16 ? "product of fp16" : "product of bf16");
    if (fp16) continue;
    for (size_t i = 0; i < 128; ++i) expected[i] -= before[i];
    cuda::launch(loadedKernel, 1, 32, 0, nullptr, a.data(), b.data(), d.data());
    sameBits(d.download(), expected, "product of loaded fragments");
  }
}

template <int kCount, bool kTransposed>
void checkLoad() {
  DeviceArray<unsigned> out(32 * kCount);
  cuda::launch(loadKernel<kCount, kTransposed>, 1, 32, 0, nullptr, out.data());
  std::vector<unsigned> expected(32 * kCount);
  for (unsigned lane = 0; lane < 32; ++lane)
    for (unsigned i = 0; i < kCount; ++i) {
      const unsigned row = lane / 4, column = lane % 4 * 2;
      expected[lane * kCount + i] = kTransposed ? (64 * i + 8 * column + row) | (64 * i + 8 * (column + 1) + row) << 16
                                                : (64 * i + 8 * row + column) | (64 * i + 8 * row + column + 1) << 16;
    }
  sameBits(out.download(), expected, "ldmatrix.x" + std::to_string(kCount) + (kTransposed ? ".trans" : ""));
}

void checkCopies() {
  const std::vector<uint4> in = vectors(128);
  DeviceArray<uint4> from(in), out(128);
  cuda::launch(copyKernel, 1, 64, 2048, nullptr, from.data(), out.data(), true, true);
  std::vector<uint4> expected(128);
  for (size_t t = 0; t < 64; ++t) {
    const size_t other = (t + 1) % 64;
    expected[t] = in[other];
    expected[64 + t] = other % 2 == 0 ? in[64 + other] : uint4{0, 0, 0, 0};
  }
  sameBits(out.download(), expected, "copies beside the threads");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    planted.at(argv[1])();
    return failures > 0;
  }
  checkProducts();
  checkLoad<1, false>();
  checkLoad<2, false>();
  checkLoad<4, false>();
  checkLoad<1, true>();
  checkLoad<2, true>();
  checkLoad<4, true>();
  checkCopies();
  mustFind("forgotten", "not waited for");
  mustFind("misaligned", "not aligned to 16 bytes");
  mustFind("unaligned row", "a row is not aligned");
  mustFind("half a warp", "threads wait for ever");
  mustFind("a small block", "fewer than 32 lanes");
#ifdef __SANITIZE_THREAD__
  mustFind("no wait", "data race");
  mustFind("no barrier", "data race");
#else
  mustFind("no wait", "not ok: what was copied");
#endif
  return finish();
}

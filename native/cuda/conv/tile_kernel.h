// The kernel of tile_conv.h, with what happens to its results as a template argument.
//
// A block keeps the filters of a slice of output channels in shared memory and goes through tiles of the output, the
// input of the next tile on its way while it computes. Its four warps have kM rows of 16 pixels each, which are the rows of
// matrices, and kN columns of eight channels. A pixel's sum runs over vectors of eight input channels, tap by tap; two
// vectors make the 16 terms of a multiply-add, and since the rows of their matrices may lie anywhere in shared memory,
// the second one may be of the next tap: no channel count is padded.
#pragma once
#include <algorithm>

#include "cuda/kernels/matrix.h"
#include "cuda/kernels/vectors.h"

namespace wbsr::cuda::tile {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kColumns = 16;     // of a tile
constexpr int kMostVectors = 8;  // of eight input channels

struct Shape {
  int height, width;
  int kernel, vectors;  // vectors: of eight input channels, up to kMostVectors
  int planeChannels;    // padded output channels of a plane; the filters of planes follow each other
  int slices;           // of a plane
  int tilesX, tilesPerImage, tiles;
};

// How operands lie in shared memory, in vectors of 16 bytes. Pixels and filters are an odd number of vectors apart, so that
// the eight rows of a matrix lie in different banks; pixels of eight vectors take no ninth one, but their vectors are in
// another order in each pixel.
struct Layout {
  int terms;  // vectors that a sum runs over
  int steps;  // pairs of them
  int filterPitch, pixelPitch;
  int order;  // 7 or 0
  int tileWidth, tilePixels;
  int offsetsAt, tilesAt, total;
  Layout(int kernel, int vectors, int rows, int filters) {
    terms = kernel * kernel * vectors;
    steps = (terms + 1) / 2;
    filterPitch = 2 * steps + 1;
    order = vectors == kMostVectors ? 7 : 0;
    pixelPitch = order ? vectors : vectors | 1;
    tileWidth = kColumns + kernel - 1;
    tilePixels = tileWidth * (rows + kernel - 1);
    offsetsAt = filters * filterPitch;
    tilesAt = offsetsAt + (2 * steps + 3) / 4;  // an int for each term
    total = tilesAt + 2 * tilePixels * pixelPitch;
  }
  // Of a vector in a tile.
  WBSR_HD int at(int pixel, int vector) const { return pixel * pixelPitch + (vector ^ (pixel & order)); }
};

// Lane q of each four neighbours has v[j] of lane j's; afterwards v[j] is what lane j had at q.
__device__ inline void exchangeInFours(float (&v)[4][2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int step = 1; step < 4; step *= 2) {
    const bool upper = lane & step;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & step) continue;
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float other = __shfl_xor_sync(0xffffffffu, upper ? v[i][e] : v[i + step][e], step);
        if (upper)
          v[i][e] = other;
        else
          v[i + step][e] = other;
      }
    }
  }
}

// Queues the input of a tile; pixels outside of the picture become 0.
__device__ inline void copyTile(uint4* tile, const bf16* x, const Shape& s, const Layout& layout, int index) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int image = index / s.tilesPerImage, inImage = index % s.tilesPerImage;
  const int rows = layout.tilePixels / layout.tileWidth, pad = s.kernel / 2;
  const int y0 = inImage / s.tilesX * (rows - s.kernel + 1) - pad;
  const int x0 = inImage % s.tilesX * kColumns - pad;
  const int perVector = 65535 / s.vectors + 1;  // divides the small numbers below
  for (int r = warp; r < rows; r += kWarps) {
    const int y = y0 + r;
    const bool rowInside = y >= 0 && y < s.height;
    const bf16* const row = x + (int64_t{image} * s.height + y) * s.width * s.vectors * kVector;
    for (int i = lane; i < layout.tileWidth * s.vectors; i += 32) {
      const int pixel = i * perVector >> 16, vector = i - pixel * s.vectors;
      const bool inside = rowInside && x0 + pixel >= 0 && x0 + pixel < s.width;
      const bf16* const from = row + int64_t{x0 * s.vectors + i} * kVector;
      copyAsync(tile + layout.at(r * layout.tileWidth + pixel, vector), inside ? from : x, inside);
    }
  }
}

// The sums of a warp's results over those of its pixels that are inside, whose first is (y0, x0 - lane / 4), one for each
// channel. out (8 kN)
template <int kM, int kN>
__device__ inline void sumWarp(const float (&sum)[kM][kN][4], const Shape& s, int y0, int x0, float* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    float part[2] = {};
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) part[i % 2] += y0 + m < s.height && x0 + i / 2 * 8 < s.width ? sum[m][n][i] : 0.f;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
#pragma unroll
      for (int step = 4; step < 32; step *= 2) part[e] += __shfl_xor_sync(0xffffffffu, part[e], step);
      if (lane < 4) out[n * 8 + 2 * lane + e] = part[e];
    }
  }
}

// x (N, H, W, vectors x 8), w (planes x planeChannels, k, k, vectors x 8). grid: (blocks, planes x slices). End: a
// functor, called with eight neighbouring channels of a pixel, `filter` being the first one's number in the slice. One
// that has kSums gets the sums of a tile's results first.
template <int kM, int kN, typename End>
__global__ void __launch_bounds__(kThreads, 1)
    tileConvKernel(const bf16* x, const bf16* w, Shape s, Layout layout, End end) {
  constexpr int kRows = kWarps * kM, kFilters = 8 * kN;
  WBSR_SHARED(uint4, shared);
  __shared__ typename End::Shared endShared;
  uint4* const filters = shared;
  int* const offsets =
      reinterpret_cast<int*>(shared + layout.offsetsAt);  // of terms: pixels from the first tap, vector
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int plane = static_cast<int>(blockIdx.y) / s.slices, slice = static_cast<int>(blockIdx.y) % s.slices;
  const int live = min(kFilters, s.planeChannels - slice * kFilters);
  const bf16* const mine = w + int64_t{plane * s.planeChannels + slice * kFilters} * layout.terms * kVector;
  for (int i = thread; i < kFilters * 2 * layout.steps; i += kThreads) {
    const int filter = i / (2 * layout.steps), term = i % (2 * layout.steps);
    const bool real = filter < live && term < layout.terms;
    copyAsync(filters + filter * layout.filterPitch + term,
              real ? mine + (int64_t{filter} * layout.terms + term) * kVector : w, real);
  }
  // Behind an odd number of terms the last one once more, whose filters are 0: it adds nothing but what is NaN already.
  for (int i = thread; i < 2 * layout.steps; i += kThreads) {
    const int term = min(i, layout.terms - 1), tap = term / s.vectors;
    offsets[i] = (tap / s.kernel * layout.tileWidth + tap % s.kernel) << 3 | term % s.vectors;
  }
  end.begin(endShared, plane, slice * kFilters, live);

  int first[kM];  // the lane's pixel of each row, at the first tap
#pragma unroll
  for (int m = 0; m < kM; ++m) first[m] = (warp * kM + m) * layout.tileWidth + lane % 16;
  // Of two columns of channels, and of the last one where it is alone.
  const uint4* const filterRow = filters + (lane / 16 * 8 + lane % 8) * layout.filterPitch + lane / 8 % 2;
  const uint4* const lastRow = filters + ((kN - 1) * 8 + lane % 8) * layout.filterPitch + lane / 8 % 2;

  const int tileVectors = layout.tilePixels * layout.pixelPitch;
  uint4* const tiles = shared + layout.tilesAt;
  const int blocks = static_cast<int>(gridDim.x);
  copyTile(tiles, x, s, layout, static_cast<int>(blockIdx.x));
  commitCopies();
  int turn = 0;
  for (int index = static_cast<int>(blockIdx.x); index < s.tiles; index += blocks, turn ^= 1) {
    if (index + blocks < s.tiles) copyTile(tiles + (turn ^ 1) * tileVectors, x, s, layout, index + blocks);
    commitCopies();
    waitForCopies<1>();
    __syncthreads();
    const uint4* const tile = tiles + turn * tileVectors;
    float sum[kM][kN][4] = {};
    // The matrices of pixels for the next step, and of filters for the next two columns, are on their way while these
    // are multiplied.
    constexpr int kPairs = (kN + 1) / 2;
    unsigned a[kM][4] = {}, nextA[kM][4] = {}, b[4] = {}, nextB[4] = {};
    const auto fetchA = [&](int step, unsigned(&into)[kM][4]) {
      const int offset = offsets[2 * step + lane / 16];
#pragma unroll
      for (int m = 0; m < kM; ++m) loadMatrices(into[m], tile + layout.at(first[m] + (offset >> 3), offset & 7));
    };
    const auto fetchB = [&](int step, int pair, unsigned(&into)[4]) {
      if (2 * pair + 1 < kN) return loadMatrices(into, filterRow + pair * 16 * layout.filterPitch + 2 * step);
      unsigned last[2];
      loadMatrices(last, lastRow + 2 * step);
      into[0] = last[0], into[1] = last[1];
    };
    fetchA(0, a);
    fetchB(0, 0, b);
#pragma unroll 2
    for (int step = 0; step < layout.steps; ++step) {
      const int ahead = min(step + 1, layout.steps - 1);
      fetchA(ahead, nextA);
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        if (pair + 1 < kPairs)
          fetchB(step, pair + 1, nextB);
        else
          fetchB(ahead, 0, nextB);
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          multiplyAddBf16(sum[m][2 * pair], a[m], b[0], b[1]);
          if (2 * pair + 1 < kN) multiplyAddBf16(sum[m][min(2 * pair + 1, kN - 1)], a[m], b[2], b[3]);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i] = nextB[i];
      }
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m][i] = nextA[m][i];
    }
    __syncthreads();  // the tile is read, and the next turn overwrites it

    const int image = index / s.tilesPerImage, inImage = index % s.tilesPerImage;
    const int y0 = inImage / s.tilesX * kRows + warp * kM, x0 = inImage % s.tilesX * kColumns + lane / 4;
    if constexpr (End::kSums) {
      sumWarp(sum, s, y0, x0, endShared.sums[warp]);
      __syncthreads();  // before the next tile's sums there are two more
      const int pixels =
          min(kRows, s.height - inImage / s.tilesX * kRows) * min(kColumns, s.width - inImage % s.tilesX * kColumns);
      end.leave(endShared, index, slice * kFilters, live, pixels);
    }
    constexpr int kParts = 2 * kM * kN;  // of eight pixels and eight channels
    static_assert(kParts % 4 == 0);
#pragma unroll
    for (int part = 0; part < kParts; part += 4) {
      float v[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int e = 0; e < 2; ++e) v[i][e] = sum[(part + i) / kN / 2][(part + i) % kN][(part + i) / kN % 2 * 2 + e];
      exchangeInFours(v);
      const int own = part + lane % 4, row = own / kN / 2, filter = own % kN * 8;
      const int py = y0 + row, px = x0 + own / kN % 2 * 8;
      if (py >= s.height || px >= s.width || filter >= live) continue;
      float result[kVector];
#pragma unroll
      for (int i = 0; i < kVector; ++i) result[i] = v[i / 2][i % 2];
      end(endShared, plane, image, py, px, filter, slice * kFilters + filter, result);
    }
  }
  waitForCopies<0>();
}

struct Machine {
  int processors, shared;  // shared: bytes that a block may have
  static Machine current() {
    int device = 0;
    Machine machine{};
    WBSR_CUDA(cudaGetDevice(&device));
    WBSR_CUDA(cudaDeviceGetAttribute(&machine.processors, cudaDevAttrMultiProcessorCount, device));
    WBSR_CUDA(cudaDeviceGetAttribute(&machine.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return machine;
  }
};

// shared: bytes of the end's.
inline int bytesOf(const Shape& s, size_t shared, int m, int n) {
  return 16 * Layout(s.kernel, s.vectors, kWarps * m, 8 * n).total + static_cast<int>(shared);
}

// planes: of planeChannels filters each. s.slices and what is behind it is set here.
template <int kM, int kN, typename End>
void launchTiles(const bf16* x, const bf16* w, Shape s, int batch, int planes, const End& end, cudaStream_t stream) {
  constexpr int kMostBlocks = 4, kReserved = 1024;  // of a processor; bytes of each block that are CUDA's
  const Machine machine = Machine::current();
  const int bytes = bytesOf(s, sizeof(typename End::Shared), kM, kN);
  WBSR_CHECK(bytes <= machine.shared);
  s.slices = static_cast<int>(divideUp(s.planeChannels, 8 * kN));
  s.tilesX = static_cast<int>(divideUp(s.width, kColumns));
  s.tilesPerImage = s.tilesX * static_cast<int>(divideUp(s.height, kWarps * kM));
  const int64_t tiles = int64_t{batch} * s.tilesPerImage;
  WBSR_CHECK(tiles <= INT32_MAX / 2);  // of 256 pixels or 128: no card has the memory
  s.tiles = static_cast<int>(tiles);
  const int resident = std::clamp((machine.shared + kReserved) / (bytes + kReserved), 1, kMostBlocks);
  const int wanted = std::max(1, machine.processors * resident / (planes * s.slices));
  const dim3 grid(static_cast<unsigned>(std::min(wanted, s.tiles)), static_cast<unsigned>(planes * s.slices));
  const auto kernel = tileConvKernel<kM, kN, End>;
  const int dynamic = bytes - static_cast<int>(sizeof(typename End::Shared));
  WBSR_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, dynamic));
  launch(kernel, grid, dim3(kThreads), static_cast<size_t>(dynamic), stream, x, w, s,
         Layout(s.kernel, s.vectors, kWarps * kM, 8 * kN), end);
}

}  // namespace wbsr::cuda::tile

// The fused router. What bounds it on a card with 4 TB/s is not memory but arithmetic: at full speed a pixel may cost some
// thirty instructions. So nothing passes through shared memory: a thread walks down 4 neighbouring columns, keeps the
// last three luma rows in registers, gets the columns beside its own by shuffles, and has the next rows' loads in
// flight meanwhile (2 rows x 12 bytes x 1024 threads: 24 KB a multiprocessor).
//
// Sums are of floats over 16 rows x 4 columns, then of doubles in a fixed order. 8-bit RGB luma is kept as a whole number
// (math::kLuma8*), so its gradients are exact.
#include <algorithm>

#include "core/math/colour.h"
#include "core/math/fastmath.h"
#include "core/math/gradient.h"
#include "core/math/route.h"
#include "cuda/router.h"
#include "cuda/samples.h"

namespace wbsr::cuda {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kBlockBits = 8;
constexpr int kBlock = 1 << kBlockBits;  // threads of a block; they share one large tile or several small ones
constexpr int kWarps = kBlock / 32;
constexpr int kRun = 4;            // neighbouring pixels of a thread
constexpr int kStrip = 16;         // most rows that a thread walks down in one go
constexpr int kUnrolled = 2;       // rows of a step: as many as are kept from before, so that none is moved
constexpr int kListed = 16;        // subnets that makeLists() sorts out at a time

// How the threads share a tile, the same for all tiles: it is `chunks` chunks wide and `strips` strips high.
struct Split {
  int laneBits;    // 2^laneBits threads side by side, at most a warp
  int chunkRuns;   // runs that they sum
  int beside;      // threads at either end that only read, since the tile goes on there: 1 where there are several chunks
  int threadBits;  // 2^threadBits threads have a tile, at most a block
  int chunks, strips;
  int stripRows;
  int visits;      // rows that a thread reads per strip, rounded up to a multiple of kUnrolled
};

// --- reading: a run of kRun pixels y rows below a place, first as stored (Raw), later as luma ---

__device__ inline uint32_t shiftRight(uint32_t low, uint32_t high, uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __funnelshift_r(low, high, bits);
#else
  return static_cast<uint32_t>((uint64_t{high} << 32 | low) >> (bits & 31));
#endif
}

// sum + the lower (upper) two bytes of a word times the two 16-bit halves of `factors`.
__device__ inline uint32_t dotLow(uint32_t factors, uint32_t word, uint32_t sum) {
#ifdef __CUDA_ARCH__
  return __dp2a_lo(factors, word, sum);
#else
  return sum + (factors & 0xffff) * (word & 255) + (factors >> 16) * (word >> 8 & 255);
#endif
}
__device__ inline uint32_t dotHigh(uint32_t factors, uint32_t word, uint32_t sum) {
#ifdef __CUDA_ARCH__
  return __dp2a_hi(factors, word, sum);
#else
  return dotLow(factors, word >> 16, sum);
#endif
}

// Luma of the four 8-bit RGB pixels in three words, times kLuma8.
__device__ inline void lumaOfBytes(const uint32_t* w, float* out) {
  constexpr auto red = static_cast<uint32_t>(math::kLuma8Red), green = static_cast<uint32_t>(math::kLuma8Green),
                 blue = static_cast<uint32_t>(math::kLuma8Blue);
  constexpr uint32_t start = 0x4B000000u;  // the bits of 2^23; those of 2^23 + n are start + n
  const uint32_t bits[4] = {dotHigh(blue, w[0], dotLow(green << 16 | red, w[0], start)), dotLow(blue << 16 | green, w[1], dotHigh(red << 16, w[0], start)),
                            dotLow(blue, w[2], dotHigh(green << 16 | red, w[1], start)), dotHigh(blue << 16 | green, w[2], dotLow(red << 16, w[2], start))};
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = math::bitsFloat(static_cast<int>(bits[i])) - 8388608.f;
}

// 8-bit RGB: runs are 12 bytes, and one word more is read where they do not begin at multiples of 4. What is read beside
// the run is not used; it may lie up to 15 bytes behind the picture. kRagged: the last pixel of short runs is repeated.
template <bool kAligned, bool kRagged_>
struct ByteRuns {
  static constexpr int kAhead = kRagged_ ? 1 : 2;  // rows whose loads are in flight
  static constexpr bool kRagged = kRagged_;
  static constexpr int kWords = kAligned ? 3 : 4;
  struct Raw {
    uint32_t words[kWords];
  };
  const uint8_t* at;  // the run at y = 0
  int pitch;          // bytes
  int pixels;

  __device__ ByteRuns(const DevicePicture& picture, int x, int y, int pixels_)
      : at(static_cast<const uint8_t*>(picture.data) + (static_cast<int64_t>(y) * picture.width + x) * 3), pitch(picture.width * 3), pixels(pixels_) {}
  __device__ uint32_t misaligned(int y) const { return (static_cast<uint32_t>(reinterpret_cast<uintptr_t>(at)) + static_cast<uint32_t>(y * pitch)) & 3; }
  __device__ void load(int y, Raw& raw) const {
    const uint8_t* from = at + y * pitch;
    if constexpr (!kAligned) from -= misaligned(y);
    const uint32_t* words = reinterpret_cast<const uint32_t*>(from);
#pragma unroll
    for (int i = 0; i < kWords; ++i) raw.words[i] = __ldg(words + i);
  }
  __device__ void luma(int y, const Raw& raw, float* out) const {
    uint32_t words[3];
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      if constexpr (kAligned) words[i] = raw.words[i];
      else words[i] = shiftRight(raw.words[i], raw.words[i + 1], misaligned(y) * 8);
    }
    lumaOfBytes(words, out);
#pragma unroll
    for (int i = 1; i < kRun; ++i)
      if (kRagged && i >= pixels) out[i] = out[i - 1];
  }
};

// Every other picture.
template <typename T, int C>
struct PixelRuns {
  static constexpr int kAhead = 1;
  static constexpr bool kRagged = true;
  struct Raw {
    float luma[kRun];  // converted at once: three bytes apart would take a register each
  };
  const Pixel<T, C>* at;
  int width, last;

  __device__ PixelRuns(const DevicePicture& picture, int x, int y, int pixels)
      : at(static_cast<const Pixel<T, C>*>(picture.data) + static_cast<int64_t>(y) * picture.width + x), width(picture.width), last(pixels - 1) {}
  __device__ void load(int y, Raw& raw) const {
    const Pixel<T, C>* row = at + y * width;
#pragma unroll
    for (int i = 0; i < kRun; ++i) raw.luma[i] = lumaOf(row[min(i, last)]);
  }
  __device__ static float lumaOf(const Pixel<T, C>& p) {
    const Rgb c = rgbOf(p);
    return C < 3 ? c.r : math::luma(c.r, c.g, c.b);  // grey is its own luma
  }
  __device__ void luma(int /*y*/, const Raw& raw, float* out) const {
#pragma unroll
    for (int i = 0; i < kRun; ++i) out[i] = raw.luma[i];
  }
};

// What one unit of the readers' luma is worth.
template <typename T, int C>
constexpr double kLumaUnit = sizeof(T) == 1 && C == 3 ? 1.0 / math::kLuma8 : 1.0;

// --- summing ---

struct Rect {
  int x, y, width, height;
};

// What each thread has summed so far; in shared memory, since registers are short.
struct ThreadSums {
  double x[kBlock], xx[kBlock], y[kBlock], yy[kBlock];
};

// Adds the gradients of this thread's share of a tile. All threads of a warp must come here: columns are exchanged.
template <typename Runs>
__device__ void addGradients(const DevicePicture& picture, const Rect& tile, const Split& split, int within, ThreadSums& sums) {
  constexpr int kAhead = Runs::kAhead;
  const int lanes = 1 << split.laneBits, lane = within & (lanes - 1);
  const int units = split.chunks * split.strips, step = 1 << (split.threadBits - split.laneBits);
  for (int first = 0; first < units; first += step) {
    const int unit = first + (within >> split.laneBits);
    const int chunk = unit / split.strips;
    int x = (chunk * split.chunkRuns + lane - split.beside) * kRun, top = (unit - chunk * split.strips) * split.stripRows;
    // Threads that have nothing to do here read along at the tile's corner.
    const bool inside = chunk < split.chunks && x >= 0 && x < tile.width && top < tile.height;
    if (!inside) x = top = 0;
    const bool busy = inside && lane >= split.beside && lane < lanes - split.beside;
    const int pixels = min(kRun, tile.width - x), rows = busy ? min(split.stripRows, tile.height - top) : 0;
    const bool leftmost = x == 0, rightmost = x + kRun >= tile.width;
    const Runs runs(picture, tile.x + x, tile.y + top, pixels);
    // Of the strip; the tile's edges are replicated.
    const int lowest = top > 0 ? -1 : 0, highest = tile.height - 1 - top;
    const auto rowOf = [&](int visit) { return min(max(visit - 1, lowest), highest); };

    typename Runs::Raw raw[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) runs.load(rowOf(k), raw[k]);
    // Differences along each row, and its smoothed values: gx is the smoothing of the former down three rows, gy the
    // difference of the latter.
    float aboveDx[kRun] = {}, hereDx[kRun] = {}, aboveSum[kRun] = {}, hereSum[kRun] = {};
    float sx = 0, sxx = 0, sy = 0, syy = 0;
    for (int visit = 0; visit < split.visits; visit += kUnrolled) {
#pragma unroll
      for (int k = 0; k < kUnrolled; ++k) {
        const int row = rowOf(visit + k);
        float line[kRun + 2], dx[kRun], sum[kRun];
        runs.luma(row, raw[k % kAhead], line + 1);
        if (visit + k + kAhead < split.visits) runs.load(rowOf(visit + k + kAhead), raw[k % kAhead]);
        const float left = __shfl_up_sync(kAll, line[kRun], 1), right = __shfl_down_sync(kAll, line[1], 1);
        line[0] = leftmost ? line[1] : left;
        line[kRun + 1] = rightmost ? line[kRun] : right;
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          dx[i] = line[i + 2] - line[i];
          sum[i] = math::sobelSum(line[i], line[i + 1], line[i + 2]);
        }
        if (static_cast<unsigned>(visit + k - 2) < static_cast<unsigned>(rows)) {
          float gx[kRun], gy[kRun];
#pragma unroll
          for (int i = 0; i < kRun; ++i) {
            gx[i] = math::sobelSum(aboveDx[i], hereDx[i], dx[i]);
            gy[i] = sum[i] - aboveSum[i];
            if (Runs::kRagged && i >= pixels) gx[i] = gy[i] = 0;
          }
          sx += (fabsf(gx[0]) + fabsf(gx[1])) + (fabsf(gx[2]) + fabsf(gx[3]));
          sy += (fabsf(gy[0]) + fabsf(gy[1])) + (fabsf(gy[2]) + fabsf(gy[3]));
          sxx += fmaf(gx[3], gx[3], fmaf(gx[2], gx[2], fmaf(gx[1], gx[1], gx[0] * gx[0])));
          syy += fmaf(gy[3], gy[3], fmaf(gy[2], gy[2], fmaf(gy[1], gy[1], gy[0] * gy[0])));
        }
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
          aboveDx[i] = hereDx[i], hereDx[i] = dx[i];
          aboveSum[i] = hereSum[i], hereSum[i] = sum[i];
        }
      }
    }
    const int t = threadIdx.x;
    sums.x[t] += sx, sums.xx[t] += sxx, sums.y[t] += sy, sums.yy[t] += syy;
  }
}

// Sums over the threads of each tile, in a fixed order; in the tile's first thread only.
__device__ math::GradientSums sumOverThreads(int threadBits, ThreadSums& own) {
  const int t = threadIdx.x;
  math::GradientSums sums{own.x[t], own.xx[t], own.y[t], own.yy[t]};
  for (int o = min(1 << threadBits, 32) / 2; o > 0; o /= 2) {
    sums.x += __shfl_xor_sync(kAll, sums.x, o);
    sums.xx += __shfl_xor_sync(kAll, sums.xx, o);
    sums.y += __shfl_xor_sync(kAll, sums.y, o);
    sums.yy += __shfl_xor_sync(kAll, sums.yy, o);
  }
  if (threadBits <= 5) return sums;
  if (t % 32 == 0) own.x[t] = sums.x, own.xx[t] = sums.xx, own.y[t] = sums.y, own.yy[t] = sums.yy;
  __syncthreads();
  if ((t & ((1 << threadBits) - 1)) == 0)
    for (int w = 32; w < 1 << threadBits; w += 32) sums.x += own.x[t + w], sums.xx += own.xx[t + w], sums.y += own.y[t + w], sums.yy += own.yy[t + w];
  return sums;
}

// --- lists: by the last block that finishes, when all subnets are known ---

// f(tile, subnet) for this thread's tiles, in order; every thread has as many. Read as 16 bytes where they are whole, and
// past the first-level cache, which does not see what other multiprocessors wrote.
template <typename F>
__device__ void forOwnTiles(const int32_t* subnetOf, int tiles, const F& f) {
  const int skipped = static_cast<int>(reinterpret_cast<uintptr_t>(subnetOf) / sizeof(int32_t) % 4);  // before the array in its first 16 bytes
  const int quads = (tiles + skipped + 3) / 4, share = (quads + kBlock - 1) / kBlock;
  const int end = min((static_cast<int>(threadIdx.x) + 1) * share, quads);
#pragma unroll 2
  for (int quad = static_cast<int>(threadIdx.x) * share; quad < end; ++quad) {
    const int tile = quad * 4 - skipped;
    if (tile >= 0 && tile + 3 < tiles) {
      const int4 s = __ldcg(reinterpret_cast<const int4*>(subnetOf + tile));
      f(tile, s.x), f(tile + 1, s.y), f(tile + 2, s.z), f(tile + 3, s.w);
    } else {
      for (int t = max(tile, 0); t < min(tile + 4, tiles); ++t) f(t, __ldcg(subnetOf + t));
    }
  }
}

// Sorts the tiles by subnet without changing their order: each thread counts its own, counts are summed over threads,
// then each thread knows where its tiles go.
__device__ void makeLists(const RouterArguments& a, int tiles) {
  __shared__ int held[kListed][kBlock];  // tiles of a subnet that threads have; then where the thread's next one goes
  __shared__ int totals[kListed];
  const int t = threadIdx.x, lane = t % 32;
  int start = 0;  // entries of the subnets before
  for (int low = 0; low < a.subnets; low += kListed) {
    const int listed = min(kListed, a.subnets - low);
    for (int s = 0; s < listed; ++s) held[s][t] = 0;
    forOwnTiles(a.subnetOf, tiles, [&](int, int subnet) {
      if (static_cast<unsigned>(subnet - low) < static_cast<unsigned>(listed)) ++held[subnet - low][t];
    });
    __syncthreads();
    for (int s = t / 32; s < listed; s += kWarps) {
      int before = 0;
#pragma unroll 1
      for (int from = 0; from < kBlock; from += 32) {
        const int own = held[s][from + lane];
        int sum = own;
        for (int o = 1; o < 32; o *= 2) {
          const int lower = __shfl_up_sync(kAll, sum, o);
          if (lane >= o) sum += lower;
        }
        held[s][from + lane] = before + sum - own;
        before += __shfl_sync(kAll, sum, 31);
      }
      if (lane == 0) totals[s] = a.counts[low + s] = before;
    }
    __syncthreads();
    for (int s = 0; s < listed; ++s) {
      held[s][t] += start;
      start += totals[s];
    }
    forOwnTiles(a.subnetOf, tiles, [&](int tile, int subnet) {
      if (static_cast<unsigned>(subnet - low) < static_cast<unsigned>(listed)) a.lists[held[subnet - low][t]++] = tile;
    });
    __syncthreads();
  }
}

// --- the kernel ---

__device__ inline Rect tileAt(const RouterArguments& a, int index) {
  const int row = index / a.columns, column = index - row * a.columns;
  return {column * a.tile, row * a.tile, min(a.tile, a.picture.width - column * a.tile), min(a.tile, a.picture.height - row * a.tile)};
}

template <typename T, int C>
__global__ void __launch_bounds__(kBlock, sizeof(T) == 1 && C == 3 ? 4 : 2) routeKernel(RouterArguments a, Split split, uint32_t* finished) {
  __shared__ ThreadSums threadSums;
  __shared__ bool last;
  threadSums.x[threadIdx.x] = threadSums.xx[threadIdx.x] = threadSums.y[threadIdx.x] = threadSums.yy[threadIdx.x] = 0;
  const int tiles = a.columns * a.rows, within = threadIdx.x & ((1 << split.threadBits) - 1);
  const int64_t wanted = (static_cast<int64_t>(blockIdx.x) << (kBlockBits - split.threadBits)) + (threadIdx.x >> split.threadBits);
  const Rect tile = tileAt(a, static_cast<int>(min(wanted, static_cast<int64_t>(tiles - 1))));  // those too many do the last one again
  const int index = within == 0 && wanted < tiles ? static_cast<int>(wanted) : -1;                // of the tile that this thread finishes
  if constexpr (sizeof(T) == 1 && C == 3) {
    // Whole warps go the same way.
    const bool whole = tile.width % kRun == 0;
    const bool aligned = (reinterpret_cast<uintptr_t>(a.picture.data) + static_cast<uintptr_t>(tile.x) * 3) % 4 == 0 && a.picture.width % 4 == 0;
    if (__all_sync(kAll, whole && aligned)) addGradients<ByteRuns<true, false>>(a.picture, tile, split, within, threadSums);
    else if (__all_sync(kAll, whole)) addGradients<ByteRuns<false, false>>(a.picture, tile, split, within, threadSums);
    else addGradients<ByteRuns<false, true>>(a.picture, tile, split, within, threadSums);
  } else {
    addGradients<PixelRuns<T, C>>(a.picture, tile, split, within, threadSums);
  }
  math::GradientSums sums = sumOverThreads(split.threadBits, threadSums);
  if (index >= 0) {
    const Rect own = tileAt(a, index);  // again: not kept meanwhile, registers are short
    constexpr double unit = kLumaUnit<T, C> * math::kSobelUnit;
    sums.x *= unit, sums.y *= unit, sums.xx *= unit * unit, sums.yy *= unit * unit;
    double vector[4];
    math::gradientVector(sums, static_cast<double>(own.width) * own.height, vector);
    const double difficulty = math::difficulty(vector);
    const int tileClass = math::classOf(a.thresholds, a.classes - 1, difficulty);
    a.difficulties[index] = difficulty;
    a.classOf[index] = tileClass;
    a.subnetOf[index] = a.map ? a.map[tileClass - 1] : tileClass - 1;
    __threadfence();
  }
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(finished, gridDim.x - 1) == gridDim.x - 1;  // the last one makes it 0 again
  __syncthreads();
  if (!last) return;
  __threadfence();
  makeLists(a, tiles);
}

int ceilLog2(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits;
}

Split splitOf(int tileWidth, int tileHeight) {
  Split split;
  const int64_t runs = divideUp(tileWidth, kRun);
  split.laneBits = std::min(ceilLog2(runs), 5);
  split.beside = runs > 32 ? 1 : 0;
  split.chunkRuns = (1 << split.laneBits) - 2 * split.beside;
  split.chunks = static_cast<int>(divideUp(runs, split.chunkRuns));
  split.stripRows = std::min(tileHeight, kStrip);
  split.strips = static_cast<int>(divideUp(tileHeight, split.stripRows));
  split.threadBits = std::min(split.laneBits + ceilLog2(int64_t{split.chunks} * split.strips), kBlockBits);
  split.visits = static_cast<int>(divideUp(split.stripRows + 2, kUnrolled) * kUnrolled);
  return split;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

size_t routerScratch(int64_t /*tiles*/) { return sizeof(uint32_t); }

void route(const RouterArguments& arguments, void* scratch, cudaStream_t stream) {
  const DevicePicture& picture = arguments.picture;
  const int64_t tiles = int64_t{arguments.columns} * arguments.rows;
  WBSR_CHECK(tiles <= INT32_MAX);
  if (tiles == 0) {
    if (arguments.subnets > 0) WBSR_CUDA(cudaMemsetAsync(arguments.counts, 0, sizeof(int32_t) * arguments.subnets, stream));
    return;
  }
  WBSR_CHECK(arguments.tile > 0 && arguments.columns == divideUp(picture.width, arguments.tile) &&
             arguments.rows == divideUp(picture.height, arguments.tile));
  const Split split = splitOf(std::min(arguments.tile, picture.width), std::min(arguments.tile, picture.height));
  const auto blocks = static_cast<unsigned>(divideUp(tiles, int64_t{1} << (kBlockBits - split.threadBits)));
  withPixel(picture.type, picture.channels, [&]<typename T, int C>() {
    launch(routeKernel<T, C>, blocks, kBlock, 0, stream, arguments, split, static_cast<uint32_t*>(scratch));
  });
}

}  // namespace wbsr::cuda

// The fused router. On a card with 4 TB/s it is bound by arithmetic, not by memory: at full speed a pixel may cost some
// thirty instructions. So nothing passes through shared memory: a thread goes down 4 neighbouring columns, keeps the
// last three luma rows in registers, gets the columns beside its own by shuffles, and has the next rows' loads in
// flight meanwhile (2 rows x 12 bytes x 1024 threads: 24 KB a multiprocessor).
//
// Sums are of floats over at most 16 rows x 4 columns, then of doubles in a fixed order. 8-bit RGB luma is kept as a whole number
// (math::kLuma8*), so its gradients are exact.
#include <algorithm>

#include "core/math/gradient.h"
#include "core/math/route.h"
#include "cuda/router.h"
#include "cuda/router_runs.h"
#include "cuda/samples.h"

namespace wbsr::cuda {
namespace {

constexpr unsigned kAll = 0xffffffffu;
constexpr int kBlockBits = 8;
constexpr int kBlock = 1 << kBlockBits;  // threads of a block; they share one large tile or several small ones
constexpr int kLeastThreads = 4;         // of a tile: one for each of the sums
constexpr int kStrip = 32;               // most rows of a thread per strip
constexpr int kFloatRows = 16;           // rows after which its sums go from float to double
constexpr int kUnrolled = 2;             // rows of a step: as many as are kept from before, so that none is moved

// How the threads share a tile, the same for all tiles: it is `chunks` chunks wide and `strips` strips high.
struct Split {
  int laneBits;   // 2^laneBits threads side by side, at most a warp
  int chunkRuns;  // runs that they sum
  int beside;  // threads at either end that only read, because the tile continues there: 1 if there are several chunks
  int threadBits;  // 2^threadBits threads have a tile, at most a block
  int chunks, strips;
  int stripRows;
  int visits;  // rows that a thread reads per strip, rounded up to a multiple of kUnrolled
};

// --- summing ---

struct Rect {
  int x, y, width, height;
};

// Each thread's sums of |gx|, gx^2, |gy|, gy^2; in shared memory, because registers are scarce.
struct ThreadSums {
  double of[4][kBlock + 1];  // one more: the four lie in different banks
};

// Adds the gradients of this thread's part of a tile. All threads of a warp must call it: they exchange columns.
template <typename Runs>
__device__ void addGradients(const DevicePicture& picture, const Rect& tile, const Split& split, int within,
                             ThreadSums& sums) {
  constexpr int kAhead = Runs::kAhead;
  const int lanes = 1 << split.laneBits, lane = within & (lanes - 1);
  const int units = split.chunks * split.strips, step = 1 << (split.threadBits - split.laneBits);
  for (int first = 0; first < units; first += step) {
    const int unit = first + (within >> split.laneBits);
    const int chunk = unit / split.strips;
    int x = (chunk * split.chunkRuns + lane - split.beside) * kRun,
        top = (unit - chunk * split.strips) * split.stripRows;
    // Threads without a part read at the tile's corner.
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
    const auto flush = [&] {
      const int t = threadIdx.x;
      sums.of[0][t] += sx, sums.of[1][t] += sxx, sums.of[2][t] += sy, sums.of[3][t] += syy;
      sx = sxx = sy = syy = 0;
    };
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
      if (visit % kFloatRows == 0) flush();  // the rows down to visit - 1 are summed
    }
    flush();
  }
}

// Segments: the threads of a tile, or warps where a tile has several of them.
struct SegmentSums {
  double of[kBlock / kLeastThreads][4];
};

// Sums over the threads of each segment, in a fixed order: one of every four threads sums one of the four.
__device__ void sumOverThreads(int threadBits, const ThreadSums& own, SegmentSums& segments) {
  const int t = threadIdx.x, which = t % 4, threads = min(1 << threadBits, 32);
  __syncwarp();
  const double* four = own.of[which] + (t - which);
  double sum = (four[0] + four[1]) + (four[2] + four[3]);
  for (int o = 4; o < threads; o *= 2) sum += __shfl_xor_sync(kAll, sum, o);
  if (t % threads < 4) segments.of[t / threads][which] = sum;
}

// Of a tile: the sums of its segments.
__device__ math::GradientSums sumOverSegments(int threadBits, int tile, const SegmentSums& segments) {
  const int count = max(1 << threadBits, 32) / 32;
  double sum[4] = {};
  for (int s = tile * count; s < (tile + 1) * count; ++s)
    for (int i = 0; i < 4; ++i) sum[i] += segments.of[s][i];
  return {sum[0], sum[1], sum[2], sum[3]};
}

// --- the kernel ---

__device__ inline Rect tileAt(const RouterArguments& a, int index) {
  const int row = index / a.columns, column = index - row * a.columns;
  return {column * a.tile, row * a.tile, min(a.tile, a.picture.width - column * a.tile),
          min(a.tile, a.picture.height - row * a.tile)};
}

template <typename T, int C>
__global__ void __launch_bounds__(kBlock, sizeof(T) == 1 && C == 3 ? 4 : 2)
    routeKernel(RouterArguments a, Split split) {
  __shared__ ThreadSums threadSums;
  __shared__ SegmentSums segmentSums;
  const int t = threadIdx.x, tiles = a.columns * a.rows,
            tileBits = kBlockBits - split.threadBits;  // 2^tileBits tiles in a block
  const int64_t first = static_cast<int64_t>(blockIdx.x) << tileBits;
  {
    // Surplus threads repeat the last tile.
    const int index = static_cast<int>(min(first + (t >> split.threadBits), static_cast<int64_t>(tiles - 1)));
    const Rect tile = tileAt(a, index);
    const int within = t & ((1 << split.threadBits) - 1);
    for (int i = 0; i < 4; ++i) threadSums.of[i][t] = 0;
    if constexpr (sizeof(T) == 1 && C == 3) {
      // All threads of a warp take the same branch.
      const bool whole = tile.width % kRun == 0;
      const bool aligned =
          (reinterpret_cast<uintptr_t>(a.picture.data) + static_cast<uintptr_t>(tile.x) * 3) % 4 == 0 &&
          a.picture.width % 4 == 0;
      if (__all_sync(kAll, whole && aligned))
        addGradients<ByteRuns<true, false>>(a.picture, tile, split, within, threadSums);
      else if (__all_sync(kAll, whole))
        addGradients<ByteRuns<false, false>>(a.picture, tile, split, within, threadSums);
      else
        addGradients<ByteRuns<false, true>>(a.picture, tile, split, within, threadSums);
    } else {
      addGradients<PixelRuns<T, C>>(a.picture, tile, split, within, threadSums);
    }
    sumOverThreads(split.threadBits, threadSums, segmentSums);
  }
  __syncthreads();
  if (t < 1 << tileBits && first + t < tiles) {  // neighbouring threads finish the block's tiles
    const int index = static_cast<int>(first) + t;
    const Rect tile = tileAt(a, index);
    math::GradientSums sums = sumOverSegments(split.threadBits, t, segmentSums);
    constexpr double unit = kLumaUnit<T, C> * math::kSobelUnit;
    sums.x *= unit, sums.y *= unit, sums.xx *= unit * unit, sums.yy *= unit * unit;
    double vector[4];
    math::gradientVector(sums, static_cast<double>(tile.width) * tile.height, vector);
    const double difficulty = math::difficulty(vector);
    const int tileClass = math::classOf(a.thresholds, a.classes - 1, difficulty);
    a.difficulties[index] = difficulty;
    a.classOf[index] = tileClass;
  }
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
  split.threadBits =
      std::clamp(split.laneBits + ceilLog2(int64_t{split.chunks} * split.strips), ceilLog2(kLeastThreads), kBlockBits);
  split.visits = static_cast<int>(divideUp(split.stripRows + 2, kUnrolled) * kUnrolled);
  return split;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------------------

void route(const RouterArguments& arguments, cudaStream_t stream) {
  const DevicePicture& picture = arguments.picture;
  const int64_t tiles = int64_t{arguments.columns} * arguments.rows;
  WBSR_CHECK(tiles <= INT32_MAX);
  if (tiles == 0) return;
  WBSR_CHECK(arguments.tile > 0 && arguments.columns == divideUp(picture.width, arguments.tile) &&
             arguments.rows == divideUp(picture.height, arguments.tile));
  const Split split = splitOf(std::min(arguments.tile, picture.width), std::min(arguments.tile, picture.height));
  const auto blocks = static_cast<unsigned>(divideUp(tiles, int64_t{1} << (kBlockBits - split.threadBits)));
  withPixel(picture.type, picture.channels,
            [&]<typename T, int C>() { launch(routeKernel<T, C>, blocks, kBlock, 0, stream, arguments, split); });
}

}  // namespace wbsr::cuda

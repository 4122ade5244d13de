// Kernels that process each channel of an image separately. A block has neighbouring pixels of one image; a thread has
// one vector of eight channels, so that factors and sums stay in registers. Sums take two launches: blocks, then the
// blocks' sums in order. How an image is cut depends on its own size only, so that its result is the same in every
// batch.
#pragma once
#include <algorithm>

#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/lane_sums.h"

namespace wbsr::cuda::channels {

constexpr int kThreads = 256;
constexpr int kGroup = 32;     // vectors that a block goes through at most; wider values take several blocks
constexpr int kPerThread = 4;  // vectors in flight
constexpr int kPoolPixels = 128, kPoolChunks = 512;

struct Shape {
  int64_t pixels;      // per image
  int vectors, group;  // per pixel; those of one block
  int64_t perBlock;    // pixels
  unsigned chunks;     // blocks per image and group
};

// Thread -> vector and first pixel; neighbouring threads have neighbouring vectors, then neighbouring pixels.
struct Place {
  int64_t image, pixel, end;  // pixels pixel, pixel + lanes, ... below end
  int vector, lanes;
  bool active;
  __device__ explicit Place(const Shape& s) {
    const int t = static_cast<int>(threadIdx.x), lane = t / s.group;
    const int64_t chunk = blockIdx.x % s.chunks;
    lanes = kThreads / s.group;
    image = blockIdx.x / s.chunks;
    vector = static_cast<int>(blockIdx.y) * s.group + t % s.group;
    active = lane < lanes && vector < s.vectors;
    pixel = chunk * s.perBlock + lane;
    end = active ? min((chunk + 1) * s.perBlock, s.pixels) : 0;
  }
  __device__ int64_t at(const Shape& s, int64_t p) const {
    return ((image * s.pixels + p) * s.vectors + vector) * kVector;
  }
};

// Arguments of a sum's functor besides the operands' values.
struct Where {
  int64_t image, pixel;  // pixel: of all images
  int channel;           // the first of the vector
};

// Functors of sums: f(v, where, sum) adds one pixel's terms to the sums of eight channels; v: a vector per operand.
struct ValueSum {
  static constexpr int kOperands = 1;
  __device__ void operator()(const float (&v)[1][kVector], const Where&, float (&sum)[kVector]) const {
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] += v[0][k];
  }
};
struct ProductSum {
  static constexpr int kOperands = 2;
  __device__ void operator()(const float (&v)[2][kVector], const Where&, float (&sum)[kVector]) const {
#pragma unroll
    for (int k = 0; k < kVector; ++k) sum[k] = fmaf(v[0][k], v[1][k], sum[k]);
  }
};

// sums (N, chunks, vectors x 8) = sum over a block's pixels of f / divisor. operands (N, pixels, vectors x 8)
template <typename F, typename T>
__global__ void __launch_bounds__(kThreads)
    sumKernel(elementwise::Operands<F::kOperands, T> operands, float* sums, Shape s, float divisor, F f) {
  __shared__ float shared[kVector * kThreads];
  const Place place(s);
  float sum[kVector] = {};
#pragma unroll 4
  for (int64_t p = place.pixel; p < place.end; p += place.lanes) {
    float v[F::kOperands][kVector];
#pragma unroll
    for (int o = 0; o < F::kOperands; ++o) load(operands.at[o] + place.at(s, p), v[o]);
    f(v, Where{place.image, place.image * s.pixels + p, place.vector * kVector}, sum);
  }
  sumLanes<kThreads>(sum, shared, place.lanes, s.group);
  if (!place.active || static_cast<int>(threadIdx.x) >= s.group) return;
#pragma unroll
  for (int k = 0; k < kVector; ++k) sum[k] /= divisor;
  store(sums + (int64_t{blockIdx.x} * s.vectors + place.vector) * kVector, sum);
}

// partial (N, chunks, channels) -> out (N, channels)
template <typename Out>
__global__ void __launch_bounds__(kSumThreads)
    finishKernel(const float* partial, Out* out, int channels, int chunks, int columns, float divisor) {
  __shared__ double shared[kSumThreads];
  const int64_t image = blockIdx.x / columns;
  const int c = static_cast<int>(blockIdx.x % columns) * kSumColumns + static_cast<int>(threadIdx.x) % kSumColumns;
  const double sum =
      sumPartials(c < channels ? partial + image * chunks * channels + c : nullptr, chunks, channels, shared);
  if (threadIdx.x < kSumColumns && c < channels) out[image * channels + c] = static_cast<Out>(sum / divisor);
}

// ---------------------------------------------------------------------------------------------------------------------

// Groups of nearly the same size for wide values. channels: a multiple of eight, not 0.
inline Shape shapeOf(int64_t pixels, int channels) {
  WBSR_CHECK(channels > 0 && channels % kVector == 0);
  Shape s{};
  s.pixels = pixels;
  s.vectors = channels / kVector;
  s.group = static_cast<int>(divideUp(s.vectors, divideUp(s.vectors, kGroup)));
  return s;
}

inline dim3 cut(Shape& s, int batch, int64_t perBlock) {
  s.perBlock = perBlock;
  s.chunks = static_cast<unsigned>(divideUp(s.pixels, perBlock));
  return dim3(static_cast<unsigned>(int64_t{batch} * s.chunks), static_cast<unsigned>(divideUp(s.vectors, s.group)));
}

inline int64_t poolPixels(int64_t pixels) { return std::max<int64_t>(kPoolPixels, divideUp(pixels, kPoolChunks)); }

// Every thread has kPerThread pixels.
inline int64_t streamPixels(const Shape& s) { return int64_t{kThreads / s.group} * kPerThread; }

// Of leaveSums().
inline int sumChunks(int64_t pixels) { return static_cast<int>(divideUp(pixels, poolPixels(pixels))); }

// partial (N, sumChunks, channels) = sums of f over chunks of an image's pixels: sumPixels() without its second launch.
// operands (N, pixels, channels); channels: padded.
template <typename F, typename T>
void leaveSums(elementwise::Operands<F::kOperands, T> operands, float* partial, int batch, int64_t pixels, int channels,
               F f, cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, poolPixels(pixels));
  launch(sumKernel<F, T>, grid, dim3(kThreads), 0, stream, operands, partial, s, 1.f, f);
}

// Bytes of scratch that sumPixels() needs.
inline size_t sumScratch(int batch, int64_t pixels, int channels) {
  const int64_t chunks = sumChunks(pixels);
  return chunks <= 1 ? 0 : sizeof(float) * static_cast<size_t>(batch * chunks * channels);
}

// out (N, channels) = sum over pixels of f / divisor. operands (N, pixels, channels); channels: padded.
template <typename F, typename T>
void sumPixels(elementwise::Operands<F::kOperands, T> operands, float* out, int batch, int64_t pixels, int channels,
               void* scratch, float divisor, F f, cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, poolPixels(pixels));
  if (pixels == 0) {
    if (batch > 0)
      WBSR_CUDA(
          cudaMemsetAsync(out, 0, sizeof(float) * static_cast<size_t>(batch) * static_cast<size_t>(channels), stream));
    return;
  }
  if (s.chunks == 1) return launch(sumKernel<F, T>, grid, dim3(kThreads), 0, stream, operands, out, s, divisor, f);
  float* partial = static_cast<float*>(scratch);
  leaveSums<F, T>(operands, partial, batch, pixels, channels, f, stream);
  const int columns = static_cast<int>(divideUp(channels, kSumColumns));
  launch(finishKernel<float>, dim3(static_cast<unsigned>(batch * columns)), dim3(kSumThreads), 0, stream, partial, out,
         channels, static_cast<int>(s.chunks), columns, divisor);
}

}  // namespace wbsr::cuda::channels

// Channel attention: global means, scaling of channels, and the backward of both. A block has some neighbouring pixels
// of one image; a thread keeps to one vector of eight channels, so that factors and sums stay in registers. Means take
// two launches: blocks, then the blocks' sums in order. How an image is cut depends on its own size only: its result
// is the same in every batch.
#include <algorithm>

#include "cuda/lane_sums.h"
#include "cuda/operators.h"

namespace wbsr::cuda {
namespace {

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

// sums (N, chunks, vectors x 8) = sum over a block's pixels of a, or of a * b, / divisor. a, b (N, pixels, vectors x 8)
template <bool kProduct, typename T>
__global__ void __launch_bounds__(kThreads) sumKernel(const T* a, const T* b, float* sums, Shape s, float divisor) {
  __shared__ float shared[kVector * kThreads];
  const Place place(s);
  float sum[kVector] = {};
#pragma unroll 4
  for (int64_t p = place.pixel; p < place.end; p += place.lanes) {
    float v[kVector];
    load(a + place.at(s, p), v);
    if constexpr (kProduct) {
      float w[kVector];
      load(b + place.at(s, p), w);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] = fmaf(v[k], w[k], sum[k]);
    } else {
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += v[k];
    }
  }
  sumLanes<kThreads>(sum, shared, place.lanes, s.group);
  if (!place.active || static_cast<int>(threadIdx.x) >= s.group) return;
#pragma unroll
  for (int k = 0; k < kVector; ++k) sum[k] /= divisor;
  store(sums + (int64_t{blockIdx.x} * s.vectors + place.vector) * kVector, sum);
}

// partial (N, chunks, channels) -> out (N, channels)
__global__ void __launch_bounds__(kSumThreads)
    finishKernel(const float* partial, float* out, int channels, int chunks, int columns, float divisor) {
  __shared__ double shared[kSumThreads];
  const int64_t image = blockIdx.x / columns;
  const int c = static_cast<int>(blockIdx.x % columns) * kSumColumns + static_cast<int>(threadIdx.x) % kSumColumns;
  const double sum =
      sumPartials(c < channels ? partial + image * chunks * channels + c : nullptr, chunks, channels, shared);
  if (threadIdx.x < kSumColumns && c < channels) out[image * channels + c] = static_cast<float>(sum / divisor);
}

// dIn (N, pixels, vectors x 8) = dOut (N, vectors x 8) / pixels
template <typename T>
__global__ void __launch_bounds__(kThreads) spreadKernel(const float* dOut, T* dIn, Shape s) {
  const Place place(s);
  if (place.pixel >= place.end) return;
  float share[kVector];
  load(dOut + (place.image * s.vectors + place.vector) * kVector, share);
#pragma unroll
  for (int k = 0; k < kVector; ++k) share[k] /= static_cast<float>(s.pixels);
  for (int64_t p = place.pixel; p < place.end; p += place.lanes) store(dIn + place.at(s, p), share);
}

// out = x * factors (+ addend). x, addend, out (N, pixels, vectors x 8), factors (N, vectors x 8); addend may be null, out
// may be x or addend.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    scaleKernel(const T* x, const float* factors, const T* addend, T* out, Shape s) {
  const Place place(s);
  if (place.pixel >= place.end) return;
  float factor[kVector];
  load(factors + (place.image * s.vectors + place.vector) * kVector, factor);
  Raw<T> raw[kPerThread], rawAddend[kPerThread];
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t p = place.pixel + i * place.lanes;
    if (p >= place.end) continue;
    raw[i] = loadRaw(x + place.at(s, p));
    if (addend) rawAddend[i] = loadRaw(addend + place.at(s, p));
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int64_t p = place.pixel + i * place.lanes;
    if (p >= place.end) continue;
    float v[kVector], sum[kVector] = {};
    unpack(raw[i], v);
    if (addend) unpack(rawAddend[i], sum);
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = fmaf(v[k], factor[k], sum[k]);
    store(out + place.at(s, p), v);
  }
}

// ---------------------------------------------------------------------------------------------------------------------

// Groups of nearly the same size for wide values. channels: a multiple of eight, not 0.
Shape shapeOf(int64_t pixels, int channels) {
  WBSR_CHECK(channels > 0 && channels % kVector == 0);
  Shape s{};
  s.pixels = pixels;
  s.vectors = channels / kVector;
  s.group = static_cast<int>(divideUp(s.vectors, divideUp(s.vectors, kGroup)));
  return s;
}

dim3 cut(Shape& s, int batch, int64_t perBlock) {
  s.perBlock = perBlock;
  s.chunks = static_cast<unsigned>(divideUp(s.pixels, perBlock));
  return dim3(static_cast<unsigned>(int64_t{batch} * s.chunks), static_cast<unsigned>(divideUp(s.vectors, s.group)));
}

int64_t poolPixels(int64_t pixels) { return std::max<int64_t>(kPoolPixels, divideUp(pixels, kPoolChunks)); }

// Every thread has kPerThread pixels.
int64_t streamPixels(const Shape& s) { return int64_t{kThreads / s.group} * kPerThread; }

template <bool kProduct, typename T>
void sumPixels(const T* a, const T* b, float* out, int batch, int64_t pixels, int channels, void* scratch,
               float divisor, cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, poolPixels(pixels));
  if (pixels == 0) {
    if (batch > 0)
      WBSR_CUDA(
          cudaMemsetAsync(out, 0, sizeof(float) * static_cast<size_t>(batch) * static_cast<size_t>(channels), stream));
    return;
  }
  if (s.chunks == 1) return launch(sumKernel<kProduct, T>, grid, dim3(kThreads), 0, stream, a, b, out, s, divisor);
  float* partial = static_cast<float*>(scratch);
  launch(sumKernel<kProduct, T>, grid, dim3(kThreads), 0, stream, a, b, partial, s, 1.f);
  const int columns = static_cast<int>(divideUp(channels, kSumColumns));
  launch(finishKernel, dim3(static_cast<unsigned>(batch * columns)), dim3(kSumThreads), 0, stream, partial, out,
         channels, static_cast<int>(s.chunks), columns, divisor);
}

}  // namespace

size_t globalPoolScratch(int batch, int64_t pixels, int channels) {
  const int64_t chunks = divideUp(pixels, poolPixels(pixels));
  return chunks <= 1 ? 0 : sizeof(float) * static_cast<size_t>(batch * chunks * channels);
}

template <typename T>
void globalPool(const T* in, float* out, int batch, int64_t pixels, int channels, void* scratch, cudaStream_t stream) {
  sumPixels<false>(in, static_cast<const T*>(nullptr), out, batch, pixels, channels, scratch,
                   static_cast<float>(pixels), stream);
}

template <typename T>
void globalPoolBackward(const float* dOut, T* dIn, int batch, int64_t pixels, int channels, cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, streamPixels(s));
  launch(spreadKernel<T>, grid, dim3(kThreads), 0, stream, dOut, dIn, s);
}

template <typename T>
void scaleChannels(const T* x, const float* factors, const T* addend, T* out, int batch, int64_t pixels, int channels,
                   cudaStream_t stream) {
  Shape s = shapeOf(pixels, channels);
  const dim3 grid = cut(s, batch, streamPixels(s));
  launch(scaleKernel<T>, grid, dim3(kThreads), 0, stream, x, factors, addend, out, s);
}

template <typename T>
void scaleChannelsBackwardFactors(const T* dOut, const T* x, float* dFactors, int batch, int64_t pixels, int channels,
                                  void* scratch, cudaStream_t stream) {
  sumPixels<true>(dOut, x, dFactors, batch, pixels, channels, scratch, 1.f, stream);
}

#define WBSR_INSTANTIATE(T)                                                                              \
  template void globalPool<T>(const T*, float*, int, int64_t, int, void*, cudaStream_t);                 \
  template void globalPoolBackward<T>(const float*, T*, int, int64_t, int, cudaStream_t);                \
  template void scaleChannels<T>(const T*, const float*, const T*, T*, int, int64_t, int, cudaStream_t); \
  template void scaleChannelsBackwardFactors<T>(const T*, const T*, float*, int, int64_t, int, void*, cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

#include "cuda/kernels/max_pool.h"

#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

// The position of a thread: one vector of one pixel of a grid of `height` rows.
struct Place {
  int64_t image;
  int y, x, vector;
  __device__ Place(int height, int vectors, unsigned chunks) {
    const int64_t row = blockIdx.x / chunks;
    const int j = static_cast<int>(blockIdx.x % chunks) * kThreads + static_cast<int>(threadIdx.x);
    image = row / height;
    y = static_cast<int>(row % height);
    x = j / vectors;
    vector = j - x * vectors;
  }
  __device__ int64_t at(int height, int width, int atY, int atX, int vectors) const {
    return (((image * height + atY) * width + atX) * vectors + vector) * kVector;
  }
};

// NaN is larger than everything, as in PyTorch.
__device__ inline bool larger(float candidate, float best) { return candidate > best || candidate != candidate; }

template <typename T>
__global__ void __launch_bounds__(kThreads)
    maxPoolKernel(const T* in, T* out, WindowAxis rows, WindowAxis columns, int vectors, unsigned chunks) {
  const Place place(rows.outputs, vectors, chunks);
  if (place.x >= columns.outputs) return;
  const int top = rows.begin[place.y], left = columns.begin[place.x], right = columns.end[place.x];
  float best[kVector];
  load(in + place.at(rows.inputs, columns.inputs, top, left, vectors), best);
  for (int y = top; y < rows.end[place.y]; ++y)
    for (int x = left; x < right; ++x) {
      float v[kVector];
      load(in + place.at(rows.inputs, columns.inputs, y, x, vectors), v);
#pragma unroll
      for (int k = 0; k < kVector; ++k) best[k] = larger(v[k], best[k]) ? v[k] : best[k];
    }
  store(out + place.at(rows.outputs, columns.outputs, place.y, place.x, vectors), best);
}

// As a gather: for every window that contains the thread's input, is it the window's first largest value?
template <typename T>
__global__ void __launch_bounds__(kThreads) maxPoolBackwardKernel(const T* dOut, const T* in, T* dIn, WindowAxis rows,
                                                                  WindowAxis columns, int vectors, unsigned chunks) {
  const Place place(rows.inputs, vectors, chunks);
  if (place.x >= columns.inputs) return;
  // Of the image's first pixel.
  const T* const from = in + place.at(rows.inputs, columns.inputs, 0, 0, vectors);
  const T* const gradients = dOut + place.at(rows.outputs, columns.outputs, 0, 0, vectors);
  const int step = vectors * kVector, own = place.y * columns.inputs + place.x;
  float sum[kVector] = {};
  for (int oy = rows.from[place.y]; oy < rows.to[place.y]; ++oy)
    for (int ox = columns.from[place.x]; ox < columns.to[place.x]; ++ox) {
      const int left = columns.begin[ox], right = columns.end[ox], bottom = rows.end[oy];
      int y = rows.begin[oy];
      int mine =
          own == y * columns.inputs + left ? (1 << kVector) - 1 : 0;  // bit k: the largest so far is the thread's
      float best[kVector];
      load(from + int64_t{y * columns.inputs + left} * step, best);
      for (; y < bottom; ++y)
        for (int x = left; x < right; ++x) {
          const int pixel = y * columns.inputs + x;
          float v[kVector];
          load(from + int64_t{pixel} * step, v);
          const int bit = pixel == own ? 1 : 0;
#pragma unroll
          for (int k = 0; k < kVector; ++k)
            if (larger(v[k], best[k])) {
              best[k] = v[k];
              mine = (mine & ~(1 << k)) | bit << k;
            }
        }
      load(gradients + int64_t{oy * columns.outputs + ox} * step, best);
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] += mine >> k & 1 ? best[k] : 0.f;
    }
  store(dIn + place.at(rows.inputs, columns.inputs, place.y, place.x, vectors), sum);
}

unsigned chunksOf(int width, int vectors) {
  return static_cast<unsigned>(divideUp(int64_t{width} * vectors, kThreads));
}

}  // namespace

template <typename T>
void maxPool(const T* in, T* out, int batch, int channels, const WindowAxis& rows, const WindowAxis& columns,
             cudaStream_t stream) {
  const int vectors = channels / kVector;
  const unsigned chunks = chunksOf(columns.outputs, vectors);
  launch(maxPoolKernel<T>, dim3(static_cast<unsigned>(int64_t{batch} * rows.outputs * chunks)), dim3(kThreads), 0,
         stream, in, out, rows, columns, vectors, chunks);
}

template <typename T>
void maxPoolBackward(const T* dOut, const T* in, T* dIn, int batch, int channels, const WindowAxis& rows,
                     const WindowAxis& columns, cudaStream_t stream) {
  const int vectors = channels / kVector;
  const unsigned chunks = chunksOf(columns.inputs, vectors);
  launch(maxPoolBackwardKernel<T>, dim3(static_cast<unsigned>(int64_t{batch} * rows.inputs * chunks)), dim3(kThreads),
         0, stream, dOut, in, dIn, rows, columns, vectors, chunks);
}

#define WBSR_INSTANTIATE(T)                                                                                \
  template void maxPool<T>(const T*, T*, int, int, const WindowAxis&, const WindowAxis&, cudaStream_t);    \
  template void maxPoolBackward<T>(const T*, const T*, T*, int, int, const WindowAxis&, const WindowAxis&, \
                                   cudaStream_t);
WBSR_INSTANTIATE(float)
WBSR_INSTANTIATE(bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

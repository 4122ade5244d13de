// Launchers of the kernels that a Program's steps need beside cuDNN, one .cu file per family. All are asynchronous on
// `stream`, may be captured in a graph, allocate nothing and are deterministic. Layouts: program/layout.h. T and its like are
// bf16 or float, explicitly instantiated. `scratch` is device memory of at least the bytes that the matching ...Scratch
// function returns. Counts may be 0. Pointers are 16-byte aligned.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/node.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// --- activation.cu, add.cu ---
// y = activation(x); x may be y. count elements.
template <typename T>
void activation(const T* x, T* y, int64_t count, ActivationKind kind, float slope, cudaStream_t stream);
// dx = dy * activation'(y); dx may be dy. slope 0 for relu.
template <typename T>
void activationBackward(const T* dy, const T* y, T* dx, int64_t count, ActivationKind kind, float slope,
                        cudaStream_t stream);
// out = a + b; out may be a or b.
template <typename T>
void add(const T* a, const T* b, T* out, int64_t count, cudaStream_t stream);

// --- pixel_shuffle.cu ---
struct ShuffleShape {
  int batch, height, width;  // of the small value
  int factor;
  int channels;  // of the large value, real ones
  bool
      shuffled;  // small is ordered sub-pixel first: (factor^2 groups) x padded(channels); else c r^2 + i r + j, padded once
  bool largeThin;             // large has 8 floats a pixel, else padded(channels) of T
  ActivationKind activation;  // applied to large (None, Relu, LeakyRelu)
  float slope;
};
template <typename Small, typename Large>
void pixelShuffle(const ShuffleShape& shape, const Small* small, Large* large, cudaStream_t stream);
// y: the forward result, needed where there is an activation, else null. Padding of dSmall becomes 0.
template <typename Large, typename Small>
void pixelShuffleBackward(const ShuffleShape& shape, const Large* dLarge, const Large* y, Small* dSmall,
                          cudaStream_t stream);

// --- upsample.cu, crop.cu ---
// out (N, H f, W f, channels) = resize(in) + addend; addend may be null, and may be out. channels: padded.
template <typename T>
void upsample(const T* in, const T* addend, T* out, int batch, int height, int width, int channels, int factor,
              bool cubic, cudaStream_t stream);
// The transpose, as a gather. height, width: of dIn.
template <typename T>
void upsampleBackward(const T* dOut, T* dIn, int batch, int height, int width, int channels, int factor, bool cubic,
                      cudaStream_t stream);
// out[n] = in[n][offsets[n].y : , offsets[n].x : ], offsets (N) on the device. channels: padded.
template <typename T>
void crop(const T* in, T* out, int batch, int height, int width, int outHeight, int outWidth, int channels,
          const int2* offsets, cudaStream_t stream);

// --- global_pool.cu, scale_channels.cu ---
// out (N, channels) = mean over pixels. channels: padded.
size_t globalPoolScratch(int batch, int64_t pixels, int channels);
template <typename T>
void globalPool(const T* in, float* out, int batch, int64_t pixels, int channels, void* scratch, cudaStream_t stream);
template <typename T>
void globalPoolBackward(const float* dOut, T* dIn, int batch, int64_t pixels, int channels, cudaStream_t stream);
// out = x * factors (+ addend); factors (N, channels); addend may be null; out may be x or addend.
template <typename T>
void scaleChannels(const T* x, const float* factors, const T* addend, T* out, int batch, int64_t pixels, int channels,
                   cudaStream_t stream);
// dFactors (N, channels) = sum over pixels of dOut * x. scratch: globalPoolScratch.
template <typename T>
void scaleChannelsBackwardFactors(const T* dOut, const T* x, float* dFactors, int batch, int64_t pixels, int channels,
                                  void* scratch, cudaStream_t stream);

}  // namespace wbsr::cuda

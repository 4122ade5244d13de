// The largest value of windows of pixels, channel by channel, and its gradient, which goes to the first of the largest
// in row order.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

namespace wbsr::cuda {

// Device memory: output o has the inputs begin[o] .. end[o] - 1; input i is in the windows of the outputs from[i] ..
// to[i] - 1.
struct WindowAxis {
  int inputs, outputs;
  const int *begin, *end, *from, *to;
};

// in (N, rows.inputs, columns.inputs, channels) -> out (N, rows.outputs, columns.outputs, channels); channels: padded.
template <typename T>
void maxPool(const T* in, T* out, int batch, int channels, const WindowAxis& rows, const WindowAxis& columns,
             cudaStream_t stream);
template <typename T>
void maxPoolBackward(const T* dOut, const T* in, T* dIn, int batch, int channels, const WindowAxis& rows,
                     const WindowAxis& columns, cudaStream_t stream);

}  // namespace wbsr::cuda

#include "cuda/kernels/resample.h"

#include "cuda/kernels/vectors.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

// A thread has one vector of one output; neighbouring threads have neighbouring vectors, then neighbouring outputs of a
// row. chunks: blocks per row.
template <typename In, typename Out>
__global__ void __launch_bounds__(kThreads)
    resampleKernel(const In* in, const Out* addend, Out* out, Axis rows, Axis columns, int vectors, unsigned chunks) {
  const int64_t row = blockIdx.x / chunks;  // n rows.outputs + y
  const int y = static_cast<int>(row % rows.outputs);
  const int j = static_cast<int>(blockIdx.x % chunks) * kThreads + static_cast<int>(threadIdx.x);
  if (j >= columns.outputs * vectors) return;
  const int x = j / vectors, vector = j - x * vectors;
  const In* const image = in + row / rows.outputs * rows.inputs * columns.inputs * vectors * kVector;
  const int firstColumn = columns.first[x], lastColumn = columns.first[x + 1];
  const int64_t at = (row * columns.outputs * vectors + j) * kVector;
  float total[kVector] = {};
  if (addend) load(addend + at, total);
  for (int r = rows.first[y]; r < rows.first[y + 1]; ++r) {
    const int64_t from = int64_t{rows.index[r]} * columns.inputs;
    float sum[kVector] = {};
    for (int c = firstColumn; c < lastColumn; ++c) {
      float v[kVector];
      load(image + ((from + columns.index[c]) * vectors + vector) * kVector, v);
      const float weight = columns.weight[c];
#pragma unroll
      for (int k = 0; k < kVector; ++k) sum[k] = fmaf(weight, v[k], sum[k]);
    }
    const float weight = rows.weight[r];
#pragma unroll
    for (int k = 0; k < kVector; ++k) total[k] = fmaf(weight, sum[k], total[k]);
  }
  store(out + at, total);
}

}  // namespace

AxisTaps transposed(const AxisTaps& taps, int inputs) {
  AxisTaps result(static_cast<size_t>(inputs));
  for (size_t output = 0; output < taps.size(); ++output)
    for (const auto& [input, weight] : taps[output])
      result[static_cast<size_t>(input)].emplace_back(static_cast<int>(output), weight);
  return result;
}

template <typename In, typename Out>
void resample(const In* in, const Out* addend, Out* out, int batch, int channels, const Axis& rows, const Axis& columns,
              cudaStream_t stream) {
  const int vectors = channels / kVector;
  const unsigned chunks = static_cast<unsigned>(divideUp(int64_t{columns.outputs} * vectors, kThreads));
  launch(resampleKernel<In, Out>, dim3(static_cast<unsigned>(int64_t{batch} * rows.outputs * chunks)), dim3(kThreads),
         0, stream, in, addend, out, rows, columns, vectors, chunks);
}

#define WBSR_INSTANTIATE(In, Out) \
  template void resample<In, Out>(const In*, const Out*, Out*, int, int, const Axis&, const Axis&, cudaStream_t);
WBSR_INSTANTIATE(float, float)
WBSR_INSTANTIATE(float, bf16)
WBSR_INSTANTIATE(bf16, float)
WBSR_INSTANTIATE(bf16, bf16)
#undef WBSR_INSTANTIATE

}  // namespace wbsr::cuda

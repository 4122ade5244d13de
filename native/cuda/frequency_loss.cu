// The frequency term: a thread computes one number of each stage of the separable DFT and of its adjoint, by direct sums
// over a row or a column. Of a patch of 96 x 96 pixels that is a hundredth of the operations of a small network.
//
// Sums: of a thread in double, of blocks by a tree, of all blocks by one block in a fixed order.
#include "cuda/frequency_loss.h"

#include "core/math/frequency.h"

namespace wbsr::cuda {
namespace {

using math::FrequencyPair;
using math::Twiddle;

constexpr int kThreads = 128;

// A plane is one channel of an image. V: math::frequencyColumns(width).
struct Shape {
  int height, width, columns, stride;
  int64_t coefficients;  // of all planes: (planes, height, columns)
  int64_t values;        // (planes, height, width)
};

// Gradients by real and imaginary part, each -1, 0 or 1.
struct Signs {
  signed char real, imaginary;
};

__device__ int64_t threadIndex() { return int64_t{blockIdx.x} * kThreads + threadIdx.x; }

// Of pixel (y, 0) of a plane.
__device__ int64_t rowOffset(const Shape& s, int64_t plane, int64_t y) {
  return ((plane / 3 * s.height + y) * s.width) * s.stride + plane % 3;
}

// i += step modulo n, 0 <= step < n
__device__ int advance(int i, int step, int n) { return i + step < n ? i + step : i + step - n; }

__global__ void __launch_bounds__(kThreads) twiddleKernel(Twiddle* out, int count) {
  const int64_t k = threadIndex();
  if (k < count) out[k] = math::twiddle(static_cast<int>(k), count);
}

// rows (planes, height, columns): the DFT of every row of prediction - target.
__global__ void __launch_bounds__(kThreads) frequencyRowsKernel(Shape s, const Twiddle* table, const float* prediction,
                                                                const float* target, FrequencyPair* rows) {
  const int64_t at = threadIndex();
  if (at >= s.coefficients) return;
  const int v = static_cast<int>(at % s.columns);
  const int64_t line = at / s.columns, from = rowOffset(s, line / s.height, line % s.height);
  FrequencyPair sum{0, 0};
  for (int x = 0, k = 0; x < s.width; ++x, k = advance(k, v, s.width)) {
    const int64_t pixel = from + int64_t{x} * s.stride;
    const FrequencyPair part = math::frequencyRow(prediction[pixel] - target[pixel], table[k]);
    sum.real += part.real;
    sum.imaginary += part.imaginary;
  }
  rows[at] = sum;
}

// Sum of all threads, in every thread. kThreads is a power of 2.
__device__ double blockSum(double value) {
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = value;
  __syncthreads();
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

// The DFT of every column of rows -> the gradients of its absolute parts; partial (blocks): sums of these parts.
__global__ void __launch_bounds__(kThreads)
    frequencyColumnsKernel(Shape s, const Twiddle* table, const FrequencyPair* rows, Signs* signs, double* partial) {
  const int64_t at = threadIndex();
  double value = 0;
  if (at < s.coefficients) {
    const int u = static_cast<int>(at / s.columns % s.height);
    const FrequencyPair* from = rows + (at / s.columns - u) * s.columns + at % s.columns;
    FrequencyPair sum{0, 0};
    for (int y = 0, k = 0; y < s.height; ++y, k = advance(k, u, s.height), from += s.columns) {
      const FrequencyPair part = math::frequencyColumn(*from, table[k]);
      sum.real += part.real;
      sum.imaginary += part.imaginary;
    }
    value = static_cast<double>(math::frequencyValue(sum.real)) + math::frequencyValue(sum.imaginary);
    signs[at] = {static_cast<signed char>(math::frequencyGradient(sum.real)),
                 static_cast<signed char>(math::frequencyGradient(sum.imaginary))};
  }
  value = blockSum(value);
  if (threadIdx.x == 0) partial[blockIdx.x] = value;
}

// One block: the weighted sum of `partial`.
__global__ void __launch_bounds__(kThreads)
    frequencySumKernel(const LossParameters* parameters, const double* partial, int64_t count, double* sum) {
  double value = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) value += partial[i];
  value = blockSum(value);
  if (threadIdx.x == 0) *sum = parameters->frequencyScale * value;
}

// The adjoint of frequencyColumnsKernel; rows are overwritten.
__global__ void __launch_bounds__(kThreads)
    frequencyColumnsBackwardKernel(Shape s, const Twiddle* table, const Signs* signs, FrequencyPair* rows) {
  const int64_t at = threadIndex();
  if (at >= s.coefficients) return;
  const int y = static_cast<int>(at / s.columns % s.height);
  const Signs* from = signs + (at / s.columns - y) * s.columns + at % s.columns;
  FrequencyPair sum{0, 0};
  for (int u = 0, k = 0; u < s.height; ++u, k = advance(k, y, s.height), from += s.columns) {
    const FrequencyPair gradient{static_cast<float>(from->real), static_cast<float>(from->imaginary)};
    const FrequencyPair part = math::frequencyColumnBackward(gradient, table[k]);
    sum.real += part.real;
    sum.imaginary += part.imaginary;
  }
  rows[at] = sum;
}

// The adjoint of frequencyRowsKernel, added to the gradient.
__global__ void __launch_bounds__(kThreads)
    frequencyRowsBackwardKernel(Shape s, const LossParameters* parameters, const Twiddle* table,
                                const FrequencyPair* rows, float* gradient) {
  const int64_t at = threadIndex();
  if (at >= s.values) return;
  const int x = static_cast<int>(at % s.width);
  const int64_t line = at / s.width;
  const FrequencyPair* from = rows + line * s.columns;
  float sum = 0;
  for (int v = 0, k = 0; v < s.columns; ++v, k = advance(k, x, s.width))
    sum += math::frequencyRowBackward(from[v], table[k]);
  gradient[rowOffset(s, line / s.height, line % s.height) + int64_t{x} * s.stride] +=
      parameters->frequencyGradient * sum;
}

// ---------------------------------------------------------------------------------------------------------------------

Shape shapeOf(int batch, int height, int width, int stride) {
  const int columns = math::frequencyColumns(width);
  const int64_t lines = int64_t{batch} * 3 * height;
  return {height, width, columns, stride, lines * columns, lines * width};
}

int64_t blocksFor(int64_t count) { return divideUp(count, kThreads); }

// What the scratch holds, each aligned for any of them.
struct Parts {
  size_t partial, rows, ofRow, ofColumn, signs, bytes;

  explicit Parts(const Shape& s) {
    size_t end = 0;
    const auto place = [&](int64_t count, size_t size) {
      const size_t at = end;
      end += (static_cast<size_t>(count) * size + 15) / 16 * 16;
      return at;
    };
    partial = place(blocksFor(s.coefficients), sizeof(double));
    rows = place(s.coefficients, sizeof(FrequencyPair));
    ofRow = place(s.width, sizeof(Twiddle));
    ofColumn = place(s.height, sizeof(Twiddle));
    signs = place(s.coefficients, sizeof(Signs));
    bytes = end;
  }
};

}  // namespace

size_t frequencyScratch(int batch, int height, int width) { return Parts(shapeOf(batch, height, width, 3)).bytes; }

void frequencyLoss(const LossParameters* parameters, const float* prediction, const float* target, float* gradient,
                   int stride, int batch, int height, int width, double* sum, void* scratch, cudaStream_t stream) {
  const Shape s = shapeOf(batch, height, width, stride);
  const Parts parts(s);
  unsigned char* const bytes = static_cast<unsigned char*>(scratch);
  auto* const partial = reinterpret_cast<double*>(bytes + parts.partial);
  auto* const rows = reinterpret_cast<FrequencyPair*>(bytes + parts.rows);
  auto* const ofRow = reinterpret_cast<Twiddle*>(bytes + parts.ofRow);
  auto* const ofColumn = reinterpret_cast<Twiddle*>(bytes + parts.ofColumn);
  auto* const signs = reinterpret_cast<Signs*>(bytes + parts.signs);
  const auto start = [&](auto* kernel, int64_t count, auto&&... arguments) {
    launch(kernel, dim3(static_cast<unsigned>(blocksFor(count))), dim3(kThreads), 0, stream, arguments...);
  };
  start(twiddleKernel, width, ofRow, width);
  start(twiddleKernel, height, ofColumn, height);
  start(frequencyRowsKernel, s.coefficients, s, ofRow, prediction, target, rows);
  start(frequencyColumnsKernel, s.coefficients, s, ofColumn, rows, signs, partial);
  start(frequencySumKernel, 1, parameters, partial, blocksFor(s.coefficients), sum);
  start(frequencyColumnsBackwardKernel, s.coefficients, s, ofColumn, signs, rows);
  start(frequencyRowsBackwardKernel, s.values, s, parameters, ofRow, rows, gradient);
}

}  // namespace wbsr::cuda

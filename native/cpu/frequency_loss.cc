#include "cpu/frequency_loss.h"

#include <cstddef>
#include <cstdint>

#include "core/math/frequency.h"
#include "cpu/loss_kernels.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {
namespace {

std::vector<math::Twiddle> twiddles(int n) {
  std::vector<math::Twiddle> out;
  for (int k = 0; k < n; ++k) out.push_back(math::twiddle(k, n));
  return out;
}

// The matrices of FrequencyPlane: what unit values add.
struct Matrices {
  std::vector<float> cosines, sines, column, columnBackward, cosinesBackward, sinesBackward;

  Matrices(int64_t height, int64_t width, int64_t columns, int64_t values) {
    const int64_t used = math::frequencyColumns(static_cast<int>(width)), parts = 2 * height;
    const auto zeros = [](std::vector<float>& matrix, int64_t count) {
      matrix.assign(static_cast<size_t>(count), 0.f);
    };
    for (std::vector<float>* matrix : {&cosines, &sines}) zeros(*matrix, width * columns);
    for (std::vector<float>* matrix : {&cosinesBackward, &sinesBackward}) zeros(*matrix, used * values);
    for (std::vector<float>* matrix : {&column, &columnBackward}) zeros(*matrix, parts * parts);
    const std::vector<math::Twiddle> ofRow = twiddles(static_cast<int>(width));
    for (int64_t x = 0; x < width; ++x)
      for (int64_t v = 0; v < used; ++v) {
        const math::Twiddle t = ofRow[static_cast<size_t>(v * x % width)];
        const math::FrequencyPair part = math::frequencyRow(1.f, t);
        cosines[static_cast<size_t>(x * columns + v)] = part.real;
        sines[static_cast<size_t>(x * columns + v)] = part.imaginary;
        cosinesBackward[static_cast<size_t>(v * values + x)] = math::frequencyRowBackward({1.f, 0.f}, t);
        sinesBackward[static_cast<size_t>(v * values + x)] = math::frequencyRowBackward({0.f, 1.f}, t);
      }
    const std::vector<math::Twiddle> ofColumn = twiddles(static_cast<int>(height));
    // from: the part of a row that is 1; the column of the matrix.
    const auto put = [&](std::vector<float>& matrix, int64_t row, int64_t from, math::FrequencyPair part) {
      matrix[static_cast<size_t>(row * parts + from)] = part.real;
      matrix[static_cast<size_t>((row + height) * parts + from)] = part.imaginary;
    };
    for (int64_t u = 0; u < height; ++u)
      for (int64_t y = 0; y < height; ++y) {
        const math::Twiddle t = ofColumn[static_cast<size_t>(u * y % height)];
        put(column, u, y, math::frequencyColumn({1.f, 0.f}, t));
        put(column, u, y + height, math::frequencyColumn({0.f, 1.f}, t));
        put(columnBackward, y, u, math::frequencyColumnBackward({1.f, 0.f}, t));
        put(columnBackward, y, u + height, math::frequencyColumnBackward({0.f, 1.f}, t));
      }
  }
};

}  // namespace

void addFrequencyTermWith(const simd::FrequencyKernel& kernel, const LossSpec& spec, const float* prediction,
                          const float* target, int batch, int height, int width, float* gradient, float gradientScale,
                          LossSums& sums) {
  if (spec.frequency == 0 || batch == 0) return;
  const int64_t planes = int64_t{batch} * 3, area = int64_t{height} * width;
  const int64_t columns = roundUp(math::frequencyColumns(width), simd::kFrequencyLanes),
                values = roundUp(width, simd::kFrequencyLanes);
  const Matrices matrices(height, width, columns, values);
  const double scale = spec.frequency / math::frequencyCount(batch, height, width);
  std::vector<double> partial(static_cast<size_t>(planes));
#pragma omp parallel
  {
    std::vector<float> scratch(static_cast<size_t>(simd::frequencyScratch(height, columns, values)));
#pragma omp for schedule(static)
    for (int64_t plane = 0; plane < planes; ++plane) {
      simd::FrequencyPlane p;
      p.height = height;
      p.width = width;
      p.columns = static_cast<int>(columns);
      p.values = static_cast<int>(values);
      p.cosines = matrices.cosines.data();
      p.sines = matrices.sines.data();
      p.column = matrices.column.data();
      p.columnBackward = matrices.columnBackward.data();
      p.cosinesBackward = matrices.cosinesBackward.data();
      p.sinesBackward = matrices.sinesBackward.data();
      p.prediction = prediction + plane * area;
      p.target = target + plane * area;
      p.gradient = gradient ? gradient + plane * area : nullptr;
      p.gradientScale = static_cast<float>(gradientScale * scale);
      p.scratch = scratch.data();
      partial[static_cast<size_t>(plane)] = kernel.run(p);
    }
  }
  double sum = 0;
  for (double part : partial) sum += part;
  sums.frequency += scale * sum;
  sums.loss += scale * sum;
}

void addFrequencyTerm(const LossSpec& spec, const float* prediction, const float* target, int batch, int height,
                      int width, float* gradient, float gradientScale, LossSums& sums) {
  addFrequencyTermWith(*lossKernels().front().frequency, spec, prediction, target, batch, height, width, gradient,
                       gradientScale, sums);
}

}  // namespace wbsr::cpu

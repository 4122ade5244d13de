#include "cpu/frequency_loss.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

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
  const int64_t columns, values;
  std::vector<float> cosines, sines, column, columnBackward, cosinesBackward, sinesBackward;

  Matrices(int64_t height, int64_t width)
      : columns(roundUp(math::frequencyColumns(static_cast<int>(width)), simd::kFrequencyLanes)),
        values(roundUp(width, simd::kFrequencyLanes)) {
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

// Those of the last sizes, since every subnet of every step needs the same ones. Of 96 x 96 they take 0.4 MB, of
// 256 x 256 3 MB.
class MatrixCache {
 public:
  std::shared_ptr<const Matrices> get(int height, int width) {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Entry& entry) { return entry.height == height && entry.width == width; });
    if (found != kept_.end()) {
      kept_.splice(kept_.begin(), kept_, found);
      return kept_.front().matrices;
    }
    kept_.push_front({height, width, std::make_shared<const Matrices>(height, width)});
    ++built_;
    if (kept_.size() > kMost) kept_.pop_back();
    return kept_.front().matrices;
  }
  int64_t built() const { return built_; }

 private:
  static constexpr size_t kMost = 4;
  struct Entry {
    int height, width;
    std::shared_ptr<const Matrices> matrices;
  };
  std::mutex mutex_;
  std::list<Entry> kept_;  // the last used first
  std::atomic<int64_t> built_{0};
};

MatrixCache& matrixCache() {
  static MatrixCache* const one = new MatrixCache;  // engines may outlive static objects
  return *one;
}

}  // namespace

int64_t frequencyMatricesBuilt() { return matrixCache().built(); }

void addFrequencyTermWith(const simd::FrequencyKernel& kernel, const LossSpec& spec, const float* prediction,
                          const float* target, int batch, int height, int width, float* gradient, float gradientScale,
                          LossSums& sums) {
  if (spec.frequency == 0 || batch == 0) return;
  const int64_t planes = int64_t{batch} * 3, area = int64_t{height} * width;
  const std::shared_ptr<const Matrices> kept = matrixCache().get(height, width);
  const Matrices& matrices = *kept;
  const double scale = spec.frequency / math::frequencyCount(batch, height, width);
  std::vector<double> partial(static_cast<size_t>(planes));
#pragma omp parallel
  {
    std::vector<float> scratch(static_cast<size_t>(simd::frequencyScratch(height, matrices.columns, matrices.values)));
#pragma omp for schedule(static)
    for (int64_t plane = 0; plane < planes; ++plane) {
      simd::FrequencyPlane p;
      p.height = height;
      p.width = width;
      p.columns = static_cast<int>(matrices.columns);
      p.values = static_cast<int>(matrices.values);
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

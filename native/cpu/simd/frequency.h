// The frequency term of the training loss (core/math/frequency.h) of one channel of a patch, by dense matrices. Compiled
// once per instruction set.
#pragma once

namespace wbsr::simd {

// Matrices are padded with zeros to rows of whole multiples of this.
constexpr int kFrequencyLanes = 16;

// H: height, W: width, V: math::frequencyColumns(W), padded to `columns`; W padded to `values`.
struct FrequencyPlane {
  int height, width, columns, values;
  const float* cosines;          // (W, columns): real parts of the DFT of a row
  const float* sines;            // (W, columns): imaginary parts
  const float* column;           // (2H, 2H): real over imaginary parts of the DFT of a column
  const float* columnBackward;   // (2H, 2H): its transpose
  const float* cosinesBackward;  // (V, values): the transposes of the first two
  const float* sinesBackward;    // (V, values)
  const float* prediction;       // (H, W)
  const float* target;           // (H, W)
  float* gradient;               // (H, W), added to; null: not wanted
  float gradientScale;           // of what is added: d (sum of absolute parts) / d prediction
  float* scratch;                // frequencyScratch() values
};

constexpr long frequencyScratch(long height, long columns, long values) { return height * (4 * columns + values); }

struct FrequencyKernel {
  const char* name;
  // Returns the sum of the absolute parts.
  double (*run)(const FrequencyPlane& plane);
};

const FrequencyKernel* avx512Frequency();
const FrequencyKernel* avx2Frequency();
const FrequencyKernel* neonFrequency();
const FrequencyKernel* baseFrequency();

}  // namespace wbsr::simd

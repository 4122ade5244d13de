// 1 x 1 convolutions between blocked values by our own kernel (simd/pointwise.h), forward. Several values may stand for
// their concatenation where each but the last fills its blocks.
#pragma once
#include <vector>

#include "cpu/simd/pointwise.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

// dense (rows, columns), both multiples of the lanes -> weights of simd::PointwiseConv.
std::vector<float> packPointwise(const std::vector<float>& dense, int rows, int columns, int lanes);

struct PointwiseInput {
  const float* values;
  Layout layout;  // blocked
};

struct PointwiseImages {
  std::vector<PointwiseInput> in;  // of the same height and width as `to`
  Layout to;                       // blocked
  int batch;
  const float* weights;
  simd::Finish finish;  // residual: like out
  float* out;
  int channels;  // simd::PointwiseConv::channels
};
void runPointwise(const simd::Pointwise& kernel, const PointwiseImages& images);

}  // namespace wbsr::cpu

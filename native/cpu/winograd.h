// 3 x 3 convolutions between blocked values by our own Winograd kernel (simd/winograd.h), forward and gradients.
//
// Against oneDNN's Winograd: weights are transformed once for each version of the master weights instead of in every
// call, bias, residual and activation are part of the output transform, and threads take blocks of tiles as they
// come, so that an interrupted thread is not waited for by a static share of the work.
#pragma once
#include <functional>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/simd/winograd.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

// dense (rows, columns, 3, 3), both multiples of the lanes -> weights of simd::WinogradConv, transformed in double
// precision: G g G^T.
std::vector<float> packWinograd(const std::vector<float>& dense, int rows, int columns, int lanes);

struct WinogradImages {
  Layout from, to;  // blocked, of the same height and width
  int batch;
  const float *in, *weights;
  simd::Finish finish;  // residual: like out
  float* out;
  int channels;  // simd::WinogradConv::channels
  // Above 1: `to` has groups of blocks, sub-pixel first, and out is the map that a pixel shuffle by it makes of `to`.
  int factor = 1;
};
// `scratch` grows to what all threads need.
void runWinograd(const simd::Winograd& kernel, const WinogradImages& images, Buffer& scratch);

struct WinogradGradientImages {
  Layout from, to;  // blocked, of the same height and width
  int batch;
  const float *in, *gradOut;
  int channels;  // of the input, without padding
};
// Calls take(i, filters) for each input channel, from several threads at a time: filters (9, to's channels with padding).
// bias: (to's channels with padding). The order of the sums depends on the shape alone.
void runWinogradGradient(const simd::Winograd& kernel, const WinogradGradientImages& images,
                         const std::function<void(int channel, const float* filters)>& take, float* bias,
                         Buffer& scratch);

}  // namespace wbsr::cpu

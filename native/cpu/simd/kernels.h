// The CPU loops that are ours and hot, compiled once per instruction set (kernels_*.cc) and picked at run time.
//
// Blocked layout: (C / L, H, W, L) per image with L = lanes, padded channels zero. L matches what oneDNN chooses.
#pragma once
#include <cstdint>

#include "core/node.h"

namespace wbsr::simd {

// A convolution with few outputs (1 to 7), blocked in, planar out: the RGB end of a network.
struct ThinForward {
  const float* in;        // (blocks, h, w, L)
  const float* weights;   // (k, k, blocks, outputs, L)
  const float* bias;      // (outputs) or null
  const float* residual;  // (outputs, h, w) or null
  float* out;             // (outputs, h, w)
  int blocks, h, w, k, outputs;
  float slope;  // leaky relu applied to the input on its way in; 1: none
};

// Weight gradient of the same convolution for one channel block of one image.
struct ThinWeights {
  const float* in;        // (h, w, L)
  const float* gradient;  // dOut with a border of k/2 zeros: (outputs, h + k - 1, w + k - 1)
  float* out;             // (k, k, outputs, L), overwritten
  int h, w, k, outputs;
};

// Pixel shuffle with sub-pixel-first channel order: block (s * blocks + b) of `small` is sub-pixel s of block b of `large`.
struct Shuffle {
  float* small;  // (r * r * blocks, h, w, L)
  float* large;  // (blocks, h * r, w * r, L)
  int blocks, h, w, r;
};

struct Kernels {
  const char* name;
  int lanes;
  void (*add)(float* out, const float* a, const float* b, int64_t n);
  // x > 0 ? x : slope * x, in place
  void (*leaky)(float* x, float slope, int64_t n);
  // dx = y > 0 ? dy : slope * dy
  void (*leakyBackward)(float* dx, const float* dy, const float* y, float slope, int64_t n);
  // x = activation(x) of the smooth ones; dx = dy * derivative, v as core/math/activation.h says.
  void (*smooth)(float* x, ActivationKind kind, int64_t n);
  void (*smoothBackward)(float* dx, const float* dy, const float* v, ActivationKind kind, int64_t n);
  void (*thinForwardRow)(const ThinForward&, int y);
  void (*thinWeights)(const ThinWeights&);
  // One row y of `small`; slope 1: no activation.
  void (*shuffleRow)(const Shuffle&, int block, int y, float slope);
  // small = d(small) from large = d(large); activated (layout of large): the activation's output, null without.
  void (*unshuffleRow)(const Shuffle&, const float* activated, int block, int y, float slope);
  // Adds weight[x] * wy * pixel to interleaved RGB sums and to the weights.
  void (*blendRow)(const float* r, const float* g, const float* b, const float* weight, float wy, float* sum,
                   float* total, int64_t n);
};

// The best set this processor runs with that many lanes (16 or 8).
const Kernels& kernels(int lanes);

const Kernels* avx512Kernels();
const Kernels* avx2Kernels();
const Kernels* neonKernels();
const Kernels* baseKernels();

}  // namespace wbsr::simd

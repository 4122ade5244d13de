// Our own convolutions on tensor cores, beside those of cuDNN: up to 64 bf16 channels in, stride 1, odd kernels with zero
// padding of kernel / 2, sums in float. All filters of a block stay in shared memory, and an input pixel comes from L2
// about 1.3 times instead of once per tap. For compute capability 8.0 and newer.
#pragma once
#include <memory>

#include "cuda/conv/conv.h"

namespace wbsr::cuda {

struct TileConv {
  int batch, height, width;
  int inChannels;     // padded
  int planeChannels;  // padded output channels of a sub-pixel plane
  int factor;         // planes: factor^2, sub-pixel first; y is (N, H factor, W factor, planeChannels)
  int kernel;
  ActivationKind activation;  // any that withEnd() has (kernels/activations.h)
  float slope;
  bool product = false;  // with a sigmoid
  float shift = 0.f;
  bool sums = false;  // of bf16 results without planes, activation and residual
};

// Whether there is a kernel for the shape and the current device's shared memory has room for it.
bool hasTileConv(const TileConv& c);
// y = activation(t) + residual, or, of a product, (t + residual) * (activation(t) + shift), with t = conv + bias.
// x (N, H, W, inChannels), w (factor^2 planeChannels, k, k, inChannels), bias and slopes (factor^2 planeChannels) or null,
// residual like y or null. slopes: of a leaky relu, instead of c.slope. float results have eight channels. sums: with
// c.sums (N, tileSums(c), planeChannels), sums of conv + bias over an image's pixels, tile by tile.
template <typename Out>
void tileConv(const TileConv& c, const bf16* x, const bf16* w, const float* bias, const float* slopes,
              const Out* residual, Out* y, cudaStream_t stream, float* sums = nullptr);
int tileSums(const TileConv& c);

// The same as an engine; null where hasTileConv() is false or the spec is none of these.
std::unique_ptr<ConvPlan> makeTilePlan(const ConvSpec& spec);

// y = conv + bias + the enlarged `small`, for the end of networks: thin float values (program/layout.h). c: factor 1,
// planeChannels 8, no activation. small (N, height / times, width / times, 8): enlarged bilinearly or, cubic, as
// operators/upsample.cu does.
struct Enlargement {
  int times;
  bool cubic;
  int channels;  // that count
};
bool hasTileConvOnto(const TileConv& c, const Enlargement& e);
void tileConvOnto(const TileConv& c, const Enlargement& e, const bf16* x, const bf16* w, const float* bias,
                  const float* small, float* y, cudaStream_t stream);

}  // namespace wbsr::cuda

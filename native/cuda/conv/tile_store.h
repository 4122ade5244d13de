// tileConv() for one kind of end. Each file that includes this compiles some of them, so that they compile side by side.
#pragma once
#include <initializer_list>

#include "cuda/conv/tile_conv.h"
#include "cuda/conv/tile_kernel.h"
#include "cuda/kernels/activations.h"

namespace wbsr::cuda::tile {

// How t = conv + bias and the residual make the result. slope: the channel's.
struct Sloped {
  __device__ float operator()(float t, float residual, float slope) const { return Activate{slope}(t) + residual; }
};
template <typename F>
struct Activated {
  __device__ float operator()(float t, float residual, float) const { return F{}(t) + residual; }
};
template <typename F>
struct Product {
  float shift;
  __device__ float operator()(float t, float residual, float) const { return (t + residual) * (F{}(t) + shift); }
};

// Operands of any end.
template <typename Out>
struct Store {
  const float *bias, *slopes;  // slopes: null where `slope` holds for all channels
  const Out* residual;
  Out* y;
  float* sums = nullptr;  // of a SumEnd
};

// Whole vectors of channels, in the order of sub-pixels.
struct StoreShared {
  float bias[64], slopes[64];
};
template <typename Out, typename F>
struct StoreEnd {
  using Shared = StoreShared;
  static constexpr bool kSums = false;
  Store<Out> to;
  int height, width, channels, factor;
  float slope;
  F f;

  __device__ void begin(Shared& shared, int plane, int from, int count) const {
    for (int i = threadIdx.x; i < 64; i += kThreads) {
      shared.bias[i] = to.bias && i < count ? to.bias[plane * channels + from + i] : 0.f;
      shared.slopes[i] = to.slopes && i < count ? to.slopes[plane * channels + from + i] : slope;
    }
  }
  __device__ void operator()(const Shared& shared, int plane, int64_t image, int py, int px, int filter, int channel,
                             float (&v)[kVector]) const {
    const int64_t row = (image * height + py) * factor + plane / factor;
    const int64_t at = ((row * width + px) * factor + plane % factor) * channels + channel;
    float other[kVector] = {};
    if (to.residual) load(to.residual + at, other);
#pragma unroll
    for (int i = 0; i < kVector; ++i) v[i] = f(v[i] + shared.bias[filter + i], other[i], shared.slopes[filter + i]);
    store(to.y + at, v);
  }
};

// The same, and sums over a tile's pixels of what it stores, before the rounding: to.sums (N, tiles of an image,
// channels). Their order depends on the image's size alone.
struct SumShared : StoreShared {
  float sums[kWarps][64];
};
template <typename Out>
struct SumEnd : StoreEnd<Out, Sloped> {
  using Shared = SumShared;
  static constexpr bool kSums = true;

  // shared.sums: of the warps' pixels, without the bias. Of threads that a barrier separates from the writers.
  __device__ void leave(const Shared& shared, int tile, int from, int count, int pixels) const {
    for (int i = threadIdx.x; i < count; i += kThreads) {
      float sum = static_cast<float>(pixels) * shared.bias[i];
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) sum += shared.sums[warp][i];
      this->to.sums[int64_t{tile} * this->channels + from + i] = sum;
    }
  }
};

inline Shape shapeOf(const TileConv& c) {
  return {c.height, c.width, c.kernel, c.inChannels / kVector, c.planeChannels, 0, 0, 0, 0};
}

// Rows of a warp and columns of eight channels (tile_kernel.h).
struct Choice {
  int m = 0, n = 0;
};

// The kernel that has all channels of a plane in the fewest slices and, then, the largest tiles. The smaller ones are for
// cards with 99 KB of shared memory.
inline Choice choose(const TileConv& c) {
  const Machine machine = Machine::current();
  const size_t shared = c.sums ? sizeof(SumShared) : sizeof(StoreShared);
  const int wanted = std::min(c.planeChannels / kVector, 8);
  for (const Choice choice :
       {Choice{4, 1}, Choice{4, 2}, Choice{4, 3}, Choice{4, 4}, Choice{2, 4}, Choice{4, 6}, Choice{2, 6}, Choice{3, 8}})
    if (choice.n >= wanted && (choice.n == 1 || wanted > 1) &&
        bytesOf(shapeOf(c), shared, choice.m, choice.n) <= machine.shared)
      return choice;
  if (wanted > 1 && bytesOf(shapeOf(c), shared, 2, 4) <= machine.shared) return {2, 4};
  return {};
}

// Of an image.
inline int tilesOf(const TileConv& c, const Choice& choice) {
  return static_cast<int>(divideUp(c.width, kColumns) * divideUp(c.height, kWarps * choice.m));
}

// work.operator()<m, n>() of the chosen kernel. float results have eight channels.
template <typename Out, typename Work>
void withChoice(const TileConv& c, const Work& work) {
  const Choice choice = choose(c);
  if constexpr (sizeof(Out) == sizeof(bf16)) {
    switch (choice.m * 10 + choice.n) {
      case 41: return work.template operator()<4, 1>();
      case 42: return work.template operator()<4, 2>();
      case 43: return work.template operator()<4, 3>();
      case 44: return work.template operator()<4, 4>();
      case 24: return work.template operator()<2, 4>();
      case 46: return work.template operator()<4, 6>();
      case 26: return work.template operator()<2, 6>();
      case 38: return work.template operator()<3, 8>();
    }
  } else if (choice.n == 1) {
    return work.template operator()<4, 1>();
  }
  WBSR_CHECK(false);
}

template <typename Out, typename F>
void storeTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<Out>& to, const F& f,
                cudaStream_t stream) {
  const StoreEnd<Out, F> end{to, c.height, c.width, c.planeChannels, c.factor, slopeOf(c.activation, c.slope), f};
  withChoice<Out>(
      c, [&]<int kM, int kN>() { launchTiles<kM, kN>(x, w, shapeOf(c), c.batch, c.factor * c.factor, end, stream); });
}

// tile_sums.cu: with sums. tile_exp.cu: sigmoid, silu, products. tile_smooth.cu: gelu, tanh.
void sumTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<bf16>& to, cudaStream_t stream);
template <typename Out>
void storeExpTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<Out>& to, cudaStream_t stream);
template <typename Out>
void storeSmoothTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<Out>& to, cudaStream_t stream);

}  // namespace wbsr::cuda::tile

#include "cuda/conv/tile_conv.h"

#include <initializer_list>

#include "cuda/conv/spec.h"
#include "cuda/conv/tile_kernel.h"
#include "cuda/kernels/activations.h"

namespace wbsr::cuda {
namespace {

// Activation, residual, and the order of sub-pixels.
template <typename Out>
struct StoreEnd {
  struct Shared {
    float bias[64], slopes[64];
  };
  const float *bias, *slopes;  // slopes: null where `slope` holds for all channels
  const Out* residual;
  Out* y;
  int height, width, channels, factor;
  float slope;

  __device__ void begin(Shared& shared, int plane, int from, int count) const {
    for (int i = threadIdx.x; i < 64; i += tile::kThreads) {
      shared.bias[i] = bias && i < count ? bias[plane * channels + from + i] : 0.f;
      shared.slopes[i] = slopes && i < count ? slopes[plane * channels + from + i] : slope;
    }
  }
  __device__ void operator()(const Shared& shared, int plane, int64_t image, int py, int px, int filter, int channel,
                             float (&v)[kVector]) const {
    const int64_t row = (image * height + py) * factor + plane / factor;
    const int64_t at = ((row * width + px) * factor + plane % factor) * channels + channel;
    float other[kVector] = {};
    if (residual) load(residual + at, other);
#pragma unroll
    for (int i = 0; i < kVector; ++i)
      v[i] = Activate{shared.slopes[filter + i]}(v[i] + shared.bias[filter + i]) + other[i];
    store(y + at, v);
  }
};

tile::Shape shapeOf(const TileConv& c) {
  return {c.height, c.width, c.kernel, c.inChannels / kVector, c.planeChannels, 0, 0, 0, 0};
}

// Rows of a warp and columns of eight channels (tile_kernel.h).
struct Choice {
  int m = 0, n = 0;
};

// The kernel that has all channels of a plane in the fewest slices and, then, the largest tiles. The smaller ones are for
// cards with 99 KB of shared memory.
template <typename Out>
Choice choose(const TileConv& c) {
  const tile::Machine machine = tile::Machine::current();
  const int wanted = std::min(c.planeChannels / kVector, 8);
  for (const Choice choice :
       {Choice{4, 1}, Choice{4, 2}, Choice{4, 3}, Choice{4, 4}, Choice{2, 4}, Choice{4, 6}, Choice{2, 6}, Choice{3, 8}})
    if (choice.n >= wanted && (choice.n == 1 || wanted > 1) &&
        tile::bytesOf<StoreEnd<Out>>(shapeOf(c), choice.m, choice.n) <= machine.shared)
      return choice;
  if (wanted > 1 && tile::bytesOf<StoreEnd<Out>>(shapeOf(c), 2, 4) <= machine.shared) return {2, 4};
  return {};
}

bool isPossible(const TileConv& c) {
  return c.kernel % 2 == 1 && c.kernel <= 5 && c.inChannels >= kVector && c.inChannels % kVector == 0 &&
         c.inChannels <= tile::kMostVectors * kVector && c.planeChannels >= kVector && c.planeChannels % kVector == 0 &&
         c.factor >= 1 && c.factor <= 8 &&
         (c.activation == ActivationKind::None || c.activation == ActivationKind::Relu ||
          c.activation == ActivationKind::LeakyRelu);
}

class TilePlan : public ConvPlan {
 public:
  TilePlan(const ConvSpec& spec, const TileConv& conv) : spec_(spec), conv_(conv) {}
  size_t workspace() const override { return 0; }
  Type written() const override { return spec_.y; }
  std::string describe() const override { return "our own tiles, tensor cores, fused, workspace 0 bytes"; }
  void run(const ConvArguments& a, void*, cudaStream_t stream) const override {
    if (spec_.y == Type::Bf16)
      runAs<bf16>(a, stream);
    else
      runAs<float>(a, stream);
  }

 private:
  template <typename Out>
  void runAs(const ConvArguments& a, cudaStream_t stream) const {
    tileConv(conv_, static_cast<const bf16*>(a.x), static_cast<const bf16*>(a.w), spec_.bias ? a.bias : nullptr,
             spec_.slopes ? a.slopes : nullptr, spec_.residual ? static_cast<const Out*>(a.residual) : nullptr,
             static_cast<Out*>(const_cast<void*>(a.y)), stream);
  }

  const ConvSpec spec_;
  const TileConv conv_;
};

}  // namespace

bool hasTileConv(const TileConv& c) { return isPossible(c) && choose<bf16>(c).n > 0; }

template <typename Out>
void tileConv(const TileConv& c, const bf16* x, const bf16* w, const float* bias, const float* slopes,
              const Out* residual, Out* y, cudaStream_t stream) {
  WBSR_CHECK(isPossible(c) && (sizeof(Out) == sizeof(bf16) || c.planeChannels == kVector));
  const StoreEnd<Out> end{
      bias, slopes, residual, y, c.height, c.width, c.planeChannels, c.factor, slopeOf(c.activation, c.slope)};
  const auto with = [&]<int kM, int kN>() {
    tile::launchTiles<kM, kN>(x, w, shapeOf(c), c.batch, c.factor * c.factor, end, stream);
  };
  const Choice choice = choose<Out>(c);
  if constexpr (sizeof(Out) == sizeof(bf16)) {
    switch (choice.m * 10 + choice.n) {
      case 41: return with.template operator()<4, 1>();
      case 42: return with.template operator()<4, 2>();
      case 43: return with.template operator()<4, 3>();
      case 44: return with.template operator()<4, 4>();
      case 24: return with.template operator()<2, 4>();
      case 46: return with.template operator()<4, 6>();
      case 26: return with.template operator()<2, 6>();
      case 38: return with.template operator()<3, 8>();
    }
  } else if (choice.n == 1) {
    return with.template operator()<4, 1>();
  }
  WBSR_CHECK(false);
}

template void tileConv<bf16>(const TileConv&, const bf16*, const bf16*, const float*, const float*, const bf16*, bf16*,
                             cudaStream_t);
template void tileConv<float>(const TileConv&, const bf16*, const bf16*, const float*, const float*, const float*,
                              float*, cudaStream_t);

std::unique_ptr<ConvPlan> makeTilePlan(const ConvSpec& s) {
  if (s.mode != ConvSpec::Forward || s.precision != Precision::Bf16 || s.stride != 1 || s.pad() != s.kernel / 2 ||
      s.product)
    return nullptr;
  if (s.y == Type::Float && s.outChannels != kVector) return nullptr;
  const int planeChannels = s.outChannels / (s.factor * s.factor);
  const TileConv conv{s.batch,  s.height, s.width,      s.inChannels, planeChannels,
                      s.factor, s.kernel, s.activation, s.slope};
  return hasTileConv(conv) ? std::make_unique<TilePlan>(s, conv) : nullptr;
}

}  // namespace wbsr::cuda

#include "cuda/conv/tile_conv.h"

#include "cuda/conv/spec.h"
#include "cuda/conv/tile_store.h"

namespace wbsr::cuda {
namespace {

bool hasEnd(const TileConv& c) {
  if (c.sums) return c.factor == 1 && !c.product && c.activation == ActivationKind::None;
  switch (c.activation) {
    case ActivationKind::None:
    case ActivationKind::Relu:
    case ActivationKind::LeakyRelu:
    case ActivationKind::Silu:
    case ActivationKind::Gelu:
    case ActivationKind::Tanh: return !c.product;
    case ActivationKind::Sigmoid: return true;
    default: return false;
  }
}

bool isPossible(const TileConv& c) {
  return c.kernel % 2 == 1 && c.kernel <= 5 && c.inChannels >= kVector && c.inChannels % kVector == 0 &&
         c.inChannels <= tile::kMostVectors * kVector && c.planeChannels >= kVector && c.planeChannels % kVector == 0 &&
         c.factor >= 1 && c.factor <= 8 && hasEnd(c);
}

class TilePlan : public ConvPlan {
 public:
  TilePlan(const ConvSpec& spec, const TileConv& conv) : spec_(spec), conv_(conv) {}
  size_t workspace() const override { return 0; }
  Type written() const override { return spec_.y; }
  int sumChunks() const override { return tileSums(conv_); }
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
             static_cast<Out*>(const_cast<void*>(a.y)), stream, a.sums);
  }

  const ConvSpec spec_;
  const TileConv conv_;
};

}  // namespace

bool hasTileConv(const TileConv& c) { return isPossible(c) && tile::choose(c).n > 0; }

int tileSums(const TileConv& c) { return tile::tilesOf(c, tile::choose(c)); }

template <typename Out>
void tileConv(const TileConv& c, const bf16* x, const bf16* w, const float* bias, const float* slopes,
              const Out* residual, Out* y, cudaStream_t stream, float* sums) {
  WBSR_CHECK(isPossible(c) && (sizeof(Out) == sizeof(bf16) || c.planeChannels == kVector));
  WBSR_CHECK(!c.product || residual);
  const tile::Store<Out> to{bias, slopes, residual, y, sums};
  if (c.sums) {
    WBSR_CHECK(sums && !slopes && !residual && sizeof(Out) == sizeof(bf16));
    if constexpr (sizeof(Out) == sizeof(bf16)) tile::sumTiles(c, x, w, to, stream);
    return;
  }
  switch (c.activation) {
    case ActivationKind::Sigmoid:
    case ActivationKind::Silu: return tile::storeExpTiles(c, x, w, to, stream);
    case ActivationKind::Gelu:
    case ActivationKind::Tanh: return tile::storeSmoothTiles(c, x, w, to, stream);
    default: return tile::storeTiles(c, x, w, to, tile::Sloped{}, stream);
  }
}

template void tileConv<bf16>(const TileConv&, const bf16*, const bf16*, const float*, const float*, const bf16*, bf16*,
                             cudaStream_t, float*);
template void tileConv<float>(const TileConv&, const bf16*, const bf16*, const float*, const float*, const float*,
                              float*, cudaStream_t, float*);

std::unique_ptr<ConvPlan> makeTilePlan(const ConvSpec& s) {
  if (s.mode != ConvSpec::Forward || s.precision != Precision::Bf16 || s.stride != 1 || s.pad() != s.kernel / 2)
    return nullptr;
  if (s.y == Type::Float && (s.outChannels != kVector || s.sums)) return nullptr;
  const int planeChannels = s.outChannels / (s.factor * s.factor);
  const TileConv conv{s.batch,  s.height,     s.width, s.inChannels, planeChannels, s.factor,
                      s.kernel, s.activation, s.slope, s.product,    s.shift,       s.sums};
  return hasTileConv(conv) ? std::make_unique<TilePlan>(s, conv) : nullptr;
}

}  // namespace wbsr::cuda

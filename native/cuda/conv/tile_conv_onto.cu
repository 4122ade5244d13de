#include "cuda/conv/tile_conv.h"
#include "cuda/conv/tile_kernel.h"
#include "cuda/kernels/enlargement.h"

namespace wbsr::cuda {
namespace {

// Adds the bias and the enlarged value.
template <bool kCubic>
struct EnlargeEnd {
  static constexpr bool kSums = false;
  struct Shared {
    float bias[kVector];
    float table[kMaxFactor][kWindow<kCubic>];
  };
  const float* bias;
  const float* small;
  float* y;
  int height, width, times;  // height, width: of y
  bool four;                 // no more channels count

  __device__ void begin(Shared& shared, int, int, int) const {
    if (threadIdx.x < kVector) shared.bias[threadIdx.x] = bias ? bias[threadIdx.x] : 0.f;
    makeTable<kCubic>(shared.table, times);
  }
  __device__ void operator()(const Shared& shared, int, int64_t image, int py, int px, int, int,
                             float (&v)[kVector]) const {
    constexpr int reach = kReach<kCubic>, taps = 2 * reach;
    const int smallHeight = height / times, smallWidth = width / times;
    const int sy = py / times, sx = px / times, phaseY = py - sy * times, phaseX = px - sx * times;
    const int skipY = firstTap(phaseY, times), skipX = firstTap(phaseX, times);
    const float* const from = small + image * smallHeight * smallWidth * kVector;
#pragma unroll
    for (int i = 0; i < kVector; ++i) v[i] += shared.bias[i];
#pragma unroll
    for (int r = 0; r < taps; ++r) {
      const int row = min(max(sy - reach + skipY + r, 0), smallHeight - 1) * smallWidth;
      float sum[kVector] = {};
#pragma unroll
      for (int t = 0; t < taps; ++t) {
        const int column = min(max(sx - reach + skipX + t, 0), smallWidth - 1);
        const float4* const pixel = reinterpret_cast<const float4*>(from) + 2 * int64_t{row + column};
        const float weight = shared.table[phaseX][skipX + t];
        const float4 low = pixel[0], high = four ? make_float4(0, 0, 0, 0) : pixel[1];
        sum[0] = fmaf(weight, low.x, sum[0]), sum[1] = fmaf(weight, low.y, sum[1]);
        sum[2] = fmaf(weight, low.z, sum[2]), sum[3] = fmaf(weight, low.w, sum[3]);
        sum[4] = fmaf(weight, high.x, sum[4]), sum[5] = fmaf(weight, high.y, sum[5]);
        sum[6] = fmaf(weight, high.z, sum[6]), sum[7] = fmaf(weight, high.w, sum[7]);
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i) v[i] = fmaf(shared.table[phaseY][skipY + r], sum[i], v[i]);
    }
    store(y + ((image * height + py) * width + px) * kVector, v);
  }
};

constexpr int kM = 4, kN = 1;

tile::Shape shapeOf(const TileConv& c) {
  return {c.height, c.width, c.kernel, c.inChannels / kVector, c.planeChannels, 0, 0, 0, 0};
}

}  // namespace

bool hasTileConvOnto(const TileConv& c, const Enlargement& e) {
  return hasTileConv(c) && c.factor == 1 && c.planeChannels == kVector && c.activation == ActivationKind::None &&
         e.times >= 1 && e.times <= kMaxFactor && c.height % e.times == 0 && c.width % e.times == 0 &&
         tile::bytesOf(shapeOf(c), sizeof(EnlargeEnd<true>::Shared), kM, kN) <= tile::Machine::current().shared;
}

void tileConvOnto(const TileConv& c, const Enlargement& e, const bf16* x, const bf16* w, const float* bias,
                  const float* small, float* y, cudaStream_t stream) {
  WBSR_CHECK(hasTileConvOnto(c, e));
  const bool four = e.channels <= 4;
  if (e.cubic)
    tile::launchTiles<kM, kN>(x, w, shapeOf(c), c.batch, 1,
                              EnlargeEnd<true>{bias, small, y, c.height, c.width, e.times, four}, stream);
  else
    tile::launchTiles<kM, kN>(x, w, shapeOf(c), c.batch, 1,
                              EnlargeEnd<false>{bias, small, y, c.height, c.width, e.times, four}, stream);
}

}  // namespace wbsr::cuda

#include "cuda/conv/tile_store.h"

namespace wbsr::cuda::tile {

void sumTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<bf16>& to, cudaStream_t stream) {
  const SumEnd<bf16> end{{to, c.height, c.width, c.planeChannels, 1, slopeOf(c.activation, c.slope), {}}};
  withChoice<bf16>(c, [&]<int kM, int kN>() { launchTiles<kM, kN>(x, w, shapeOf(c), c.batch, 1, end, stream); });
}

}  // namespace wbsr::cuda::tile

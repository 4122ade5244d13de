#include "cuda/conv/tile_store.h"
#include "cuda/kernels/fast_activations.h"

namespace wbsr::cuda::tile {

template <typename Out>
void storeExpTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<Out>& to, cudaStream_t stream) {
  if (c.product) return storeTiles(c, x, w, to, Product<FastSigmoid>{c.shift}, stream);
  if (c.activation == ActivationKind::Sigmoid) return storeTiles(c, x, w, to, Activated<FastSigmoid>{}, stream);
  storeTiles(c, x, w, to, Activated<FastSilu>{}, stream);
}

template void storeExpTiles<bf16>(const TileConv&, const bf16*, const bf16*, const Store<bf16>&, cudaStream_t);
template void storeExpTiles<float>(const TileConv&, const bf16*, const bf16*, const Store<float>&, cudaStream_t);

}  // namespace wbsr::cuda::tile

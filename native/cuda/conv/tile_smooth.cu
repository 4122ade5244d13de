#include "cuda/conv/tile_store.h"
#include "cuda/kernels/fast_activations.h"

namespace wbsr::cuda::tile {

template <typename Out>
void storeSmoothTiles(const TileConv& c, const bf16* x, const bf16* w, const Store<Out>& to, cudaStream_t stream) {
  if (c.activation == ActivationKind::Gelu) return storeTiles(c, x, w, to, Activated<Gelu>{}, stream);
  storeTiles(c, x, w, to, Activated<FastTanh>{}, stream);
}

template void storeSmoothTiles<bf16>(const TileConv&, const bf16*, const bf16*, const Store<bf16>&, cudaStream_t);
template void storeSmoothTiles<float>(const TileConv&, const bf16*, const bf16*, const Store<float>&, cudaStream_t);

}  // namespace wbsr::cuda::tile

// Sub-pixels between channels and places, in channel order c r^2 + i r + j and between any layouts; for pixelShuffle,
// pixelUnshuffle and their gradients.
#pragma once
#include "cpu/tensor.h"

namespace wbsr::cpu {

// small (N, channels r^2, h, w) -> large (N, channels, h r, w r)
void shuffleGeneric(const Layout& small, const float* in, const Layout& large, float* out, int batch, int factor,
                    int channels);
// The reverse.
void unshuffleGeneric(const Layout& small, float* out, const Layout& large, const float* in, int batch, int factor,
                      int channels);

}  // namespace wbsr::cpu

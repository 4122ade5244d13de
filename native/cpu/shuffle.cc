#include "cpu/shuffle.h"

#include <algorithm>

namespace wbsr::cpu {

// Where channel c of pixel (y, x) lies inside one batch item.
inline int64_t at(const Layout& l, int c, int y, int x) {
  return ((int64_t{c / l.lanes} * l.h + y) * l.w + x) * l.lanes + c % l.lanes;
}

void shuffleGeneric(const Layout& small, const float* in, const Layout& large, float* out, int batch, int factor,
                    int channels) {
  if (large.kind == Layout::Blocked) std::fill(out, out + large.image() * batch, 0.f);  // padded channels
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int c = 0; c < channels; ++c)
      for (int y = 0; y < large.h; ++y)
        for (int x = 0; x < large.w; ++x)
          out[n * large.image() + at(large, c, y, x)] =
              in[n * small.image() +
                 at(small, (c * factor + y % factor) * factor + x % factor, y / factor, x / factor)];
}

void unshuffleGeneric(const Layout& small, float* out, const Layout& large, const float* in, int batch, int factor,
                      int channels) {
  if (small.kind == Layout::Blocked) std::fill(out, out + small.image() * batch, 0.f);
#pragma omp parallel for collapse(2) schedule(static)
  for (int n = 0; n < batch; ++n)
    for (int c = 0; c < channels; ++c)
      for (int y = 0; y < large.h; ++y)
        for (int x = 0; x < large.w; ++x)
          out[n * small.image() + at(small, (c * factor + y % factor) * factor + x % factor, y / factor, x / factor)] =
              in[n * large.image() + at(large, c, y, x)];
}

}  // namespace wbsr::cpu

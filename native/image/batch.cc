// Training batches: crops of HR pictures and their LR counterparts, flipped and transposed alike, as float NCHW.
#include <algorithm>
#include <vector>

#include "image/image.h"

namespace wbsr::image {

namespace {

// pixels (size, size, 3), step between rows in pixels -> out (3, size, size); flips first, then the transpose.
void place(const uint8_t* pixels, int rowPixels, int size, const Crop& crop, float* out) {
  const size_t area = static_cast<size_t>(size) * size;
  for (int y = 0; y < size; ++y) {
    for (int x = 0; x < size; ++x) {
      // (x, y) of the result comes from (i, j) of the crop.
      const int tx = crop.transpose ? y : x, ty = crop.transpose ? x : y;
      const int i = crop.flipX ? size - 1 - tx : tx, j = crop.flipY ? size - 1 - ty : ty;
      const uint8_t* p = pixels + (static_cast<size_t>(j) * rowPixels + i) * 3;
      float* o = out + static_cast<size_t>(y) * size + x;
      o[0] = p[0] * (1.f / 255.f);
      o[area] = p[1] * (1.f / 255.f);
      o[2 * area] = p[2] * (1.f / 255.f);
    }
  }
}

const uint8_t* pixelAt(const View& image, int x, int y) {
  return static_cast<const uint8_t*>(image.data) + (static_cast<size_t>(y) * image.width + x) * 3;
}

}  // namespace

void assembleBatch(const BatchSpec& spec, float* lr, float* hr) {
  const int size = spec.patch, small = size / spec.scale;
  std::vector<uint8_t> shrunk(static_cast<size_t>(small) * small * 3);
  for (size_t n = 0; n < spec.crops.size(); ++n) {
    const Crop& crop = spec.crops[n];
    const View& image = spec.images[crop.image];
    place(pixelAt(image, crop.x, crop.y), image.width, size, crop, hr + n * 3 * size * size);
    float* out = lr + n * 3 * small * small;
    if (!spec.lrImages.empty()) {
      const View& lrImage = spec.lrImages[crop.image];
      place(pixelAt(lrImage, crop.x / spec.scale, crop.y / spec.scale), lrImage.width, small, crop, out);
    } else {
      shrinkWindow(image, crop.x, crop.y, spec.scale, shrunk.data(), small, small, Border::Symmetric);
      place(shrunk.data(), small, small, crop, out);
    }
  }
}

}  // namespace wbsr::image

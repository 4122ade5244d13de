// The host's part of a batch: selects the pixels that the device needs and copies them to the upload buffer.
#include <algorithm>
#include <cstring>

#include "core/math/cubic.h"
#include "cuda/batch.h"

namespace wbsr::cuda {
namespace {

// out (height, width, 3) = the image's pixels from (x, y) on, mirrored where that lies outside.
void copyMirrored(const View& image, int x, int y, int width, int height, uint8_t* out) {
  const uint8_t* pixels = static_cast<const uint8_t*>(image.data);
  const int left = std::clamp(-x, 0, width),
            right = std::clamp(image.width - x, left, width);  // columns [left, right) are inside
  for (int j = 0; j < height; ++j, out += size_t{3} * static_cast<size_t>(width)) {
    const uint8_t* row = pixels + size_t{3} * static_cast<size_t>(image.width) *
                                      static_cast<size_t>(math::borderIndex(y + j, image.height, true));
    const auto mirror = [&](int i) {
      std::memcpy(out + 3 * i, row + 3 * math::borderIndex(x + i, image.width, true), 3);
    };
    for (int i = 0; i < left; ++i) mirror(i);
    if (right > left) std::memcpy(out + 3 * left, row + 3 * (x + left), size_t{3} * static_cast<size_t>(right - left));
    for (int i = right; i < width; ++i) mirror(i);
  }
}

}  // namespace

int cropMargin(int scale) {
  const double ratio = 1.0 / scale;
  const int first = math::cubicFirst(math::cubicCentre(0, ratio), ratio);
  return std::max(-first, first + math::cubicTaps(ratio) - scale);
}

WindowPlan planWindows(const BatchSource& source, int patch, int scale) {
  WindowPlan plan;
  plan.patch = patch;
  plan.scale = scale;
  plan.margin = source.lrImages.empty() ? cropMargin(scale) : 0;
  const int side = patch + 2 * plan.margin, small = patch / scale;
  const auto take = [&](size_t bytes) {
    const size_t at = plan.bytes;
    plan.bytes += (bytes + 15) / 16 * 16;
    return static_cast<int64_t>(at);
  };
  for (const Crop& crop : source.crops) {
    CropWindow window{};
    window.offset = take(size_t{3} * static_cast<size_t>(side) * static_cast<size_t>(side));
    window.stride = side;
    window.x = window.y = plan.margin;
    window.lrOffset =
        source.lrImages.empty() ? -1 : take(size_t{3} * static_cast<size_t>(small) * static_cast<size_t>(small));
    window.flipX = crop.flipX;
    window.flipY = crop.flipY;
    window.transpose = crop.transpose;
    plan.crops.push_back(window);
  }
  return plan;
}

void copyWindows(const WindowPlan& plan, const BatchSource& source, uint8_t* windows) {
  const int side = plan.patch + 2 * plan.margin, small = plan.patch / plan.scale;
  for (size_t n = 0; n < plan.crops.size(); ++n) {
    const Crop& crop = source.crops[n];
    const CropWindow& window = plan.crops[n];
    copyMirrored(source.images[static_cast<size_t>(crop.image)], crop.x - plan.margin, crop.y - plan.margin, side, side,
                 windows + window.offset);
    if (window.lrOffset >= 0)
      copyMirrored(source.lrImages[static_cast<size_t>(crop.image)], crop.x / plan.scale, crop.y / plan.scale, small,
                   small, windows + window.lrOffset);
  }
}

}  // namespace wbsr::cuda

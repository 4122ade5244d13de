// HES batches made on the device: crops of HR windows with flips and transposes, and their antialiased bicubic LR.
#pragma once
#include "core/pixels.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// One uploaded window of a training image, uint8 RGB; everything the crop and its LR look at, borders already mirrored.
struct CropWindow {
  int64_t offset;     // bytes into the windows' buffer
  int stride;         // pixels between rows
  int x, y;           // of the crop in the window
  int64_t lrOffset;   // bytes into the buffer of the LR crop's own pixels, -1: LR is made from HR
  int lrStride;
  bool flipX, flipY, transpose;
};

// Margin in HR pixels that the antialiased bicubic looks at around a crop.
int cropMargin(int scale);

// hr (N, patch, patch, 8) float, lr thin (N, patch / scale, patch / scale, 8) float, lrCopy (may be null) the same in T;
// values as image::assembleBatch gives them (LR rounded to 8 bits).
template <typename T>
void assembleCrops(const uint8_t* windows, const CropWindow* crops, int batch, int patch, int scale, float* hr, float* lr, T* lrCopy, cudaStream_t stream);

}  // namespace wbsr::cuda

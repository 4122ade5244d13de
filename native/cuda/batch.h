// HES batches made on the device: crops of HR windows with flips and transposes, and their antialiased bicubic LR.
#pragma once
#include <vector>

#include "core/device.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

// One uploaded window of a training image, uint8 RGB: the crop and the margin that its LR reads, borders mirrored.
struct CropWindow {
  int64_t offset;    // bytes into the windows' memory
  int stride;        // pixels between rows
  int x, y;          // of the crop in the window
  int64_t lrOffset;  // of the LR crop's own pixels (patch / scale pixels a row); -1: LR is made from HR
  bool flipX, flipY, transpose;
};

// The layout of a batch's windows in the upload buffer.
struct WindowPlan {
  std::vector<CropWindow> crops;
  size_t bytes = 0;
  int patch = 0, scale = 0, margin = 0;
};

// Most crops of a batch: the second dimension of a grid.
constexpr int kMostImages = 65535;

// Margin in HR pixels that the antialiased bicubic reads around a crop.
int cropMargin(int scale);

// crops lie inside their images, and at multiples of scale where the source has LR images (image::BatchSpec).
WindowPlan planWindows(const BatchSource& source, int patch, int scale);
// windows: plan.bytes of host memory.
void copyWindows(const WindowPlan& plan, const BatchSource& source, uint8_t* windows);

// windows, crops: on the device. hr (N, patch, patch, 8) float, lr thin (N, patch / scale, patch / scale, 8) float, lrCopy
// (may be null) the same in T; padding becomes 0. Values are those of image::assembleBatch: byte / 255, LR rounded to 8
// bits after each pass of the resize as the protocol's files are.
template <typename T>
void assembleCrops(const uint8_t* windows, const CropWindow* crops, int batch, int patch, int scale, float* hr,
                   float* lr, T* lrCopy, cudaStream_t stream);

}  // namespace wbsr::cuda

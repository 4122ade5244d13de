#include "cuda/canvas.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/tiles.h"

namespace wbsr::cuda {
namespace {

// Moves rows [from, from + kept) to the front, in pieces, because source and target may overlap.
void moveUp(int32_t* data, int64_t unit, int64_t from, int64_t kept, cudaStream_t stream) {
  for (int64_t at = 0; at < kept && from > 0; at += from) {
    const int64_t rows = std::min(from, kept - at);
    WBSR_CUDA(cudaMemcpyAsync(data + at * unit, data + (from + at) * unit,
                              sizeof(int32_t) * static_cast<size_t>(rows * unit), cudaMemcpyDeviceToDevice, stream));
  }
}

void clear(int32_t* data, int64_t unit, int64_t first, int64_t end, cudaStream_t stream) {
  if (end > first)
    WBSR_CUDA(
        cudaMemsetAsync(data + first * unit, 0, sizeof(int32_t) * static_cast<size_t>((end - first) * unit), stream));
}

}  // namespace

CudaCanvas::CudaCanvas(int64_t width, int64_t rows, cudaStream_t stream, Uploads& uploads, Downloads& downloads,
                       Guard guard, std::shared_ptr<void> owner)
    : width_(width),
      rows_(rows),
      stream_(stream),
      uploads_(uploads),
      downloads_(downloads),
      guard_(std::move(guard)),
      owner_(std::move(owner)) {
  sums_.reserve(sizeof(int32_t) * static_cast<size_t>(std::max<int64_t>(1, width * rows * 3)));
  weights_.reserve(sizeof(int32_t) * static_cast<size_t>(std::max<int64_t>(1, width * rows)));
  clear(sums(), width * 3, 0, rows, stream);
  clear(weights(), width, 0, rows, stream);
}

CudaCanvas::~CudaCanvas() {
  try {
    guard_([this] {
      cudaStreamSynchronize(uploads_.stream);
      cudaStreamSynchronize(stream_);
      cudaStreamSynchronize(downloads_.stream);
    });
  } catch (...) {  // the device has failed: nothing to wait for
  }
}

int64_t CudaCanvas::bytes() const {
  size_t sum = sums_.bytes() + weights_.bytes();
  for (const Slot& slot : slots_) sum += slot.pixels.bytes() + slot.alpha.bytes();
  return static_cast<int64_t>(sum);
}

void CudaCanvas::move(int64_t from, int64_t kept, int64_t rows) {
  WBSR_CHECK(from >= 0 && kept >= 0 && from + kept <= rows_ && kept <= rows && rows <= rows_);
  guard_([&] {
    moveUp(sums(), width_ * 3, from, kept, stream_);
    moveUp(weights(), width_, from, kept, stream_);
    clear(sums(), width_ * 3, kept, rows, stream_);
    clear(weights(), width_, kept, rows, stream_);
  });
}

void CudaCanvas::finish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) {
  waitFinish(submitFinish(first, rows, channels, alpha, type, out));
}

int64_t CudaCanvas::submitFinish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type,
                                 void* out) {
  WBSR_CHECK(first >= 0 && rows >= 0 && first + rows <= rows_);
  const int64_t ticket = turns_.next();
  Slot& slot = slots_[ticket % 2];
  guard_([&] {
    const int64_t count = rows * width_;
    slot.bytes = sampleBytes(type) * static_cast<size_t>(channels) * static_cast<size_t>(count);
    slot.out = out;
    slot.pixels.reserve(slot.bytes);
    if (alpha) {
      slot.alpha.reserve(sizeof(float) * static_cast<size_t>(count));
      // The kernel that read the slot's last alpha is over: its pixels have been downloaded.
      uploads_.transfer.upload(slot.alpha.as(), alpha, sizeof(float) * static_cast<size_t>(count), uploads_.stream);
      uploads_.handOver(stream_);
    }
    finishRows(sums() + first * width_ * 3, weights() + first * width_, alpha ? slot.alpha.as<float>() : nullptr, count,
               channels, type, slot.pixels.as(), stream_);
    slot.ready.record(stream_);
    turns_.take(ticket);
  });
  return ticket;
}

void CudaCanvas::waitFinish(int64_t ticket) {
  Slot& slot = slots_[ticket % 2];
  try {
    guard_([&] {
      std::lock_guard<std::mutex> lock(downloads_.mutex);
      slot.ready.makeWait(downloads_.stream);
      downloads_.transfer.download(slot.out, slot.pixels.as(), slot.bytes, downloads_.stream);
    });
  } catch (...) {
    turns_.give(ticket);
    throw;
  }
  turns_.give(ticket);
}

}  // namespace wbsr::cuda

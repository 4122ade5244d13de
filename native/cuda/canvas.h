// Weighted sums of a band of SR rows in device memory.
#pragma once
#include <functional>
#include <memory>
#include <mutex>

#include "core/device.h"
#include "cuda/runtime.h"
#include "cuda/transfer.h"
#include "cuda/turns.h"
#include "cuda/uploads.h"

namespace wbsr::cuda {

// Shared by the canvases of a device for downloads: a separate stream, so that pixels are copied while the next band
// runs.
struct Downloads {
  Stream stream;
  Transfer transfer;
  std::mutex mutex;  // one download at a time
};

class CudaCanvas : public Canvas {
 public:
  using Guard = std::function<void(const std::function<void()>&)>;
  // width, rows: in SR pixels. guard(work) runs work with the device current and turns its failures into the device's.
  // owner: keeps the stream and the transfers alive as long as its canvases.
  CudaCanvas(int64_t width, int64_t rows, cudaStream_t stream, Uploads& uploads, Downloads& downloads, Guard guard,
             std::shared_ptr<void> owner);
  ~CudaCanvas() override;

  void move(int64_t from, int64_t kept, int64_t rows) override;
  void finish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) override;
  int64_t submitFinish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) override;
  void waitFinish(int64_t ticket) override;
  int64_t bytes() const override;

  int32_t* sums() const { return sums_.as<int32_t>(); }
  int32_t* weights() const { return weights_.as<int32_t>(); }
  int64_t width() const { return width_; }
  int64_t rows() const { return rows_; }
  const void* owner() const { return owner_.get(); }

 private:
  // Finished rows in flight: computed on the device's stream, copied on the downloads' stream.
  struct Slot {
    DeviceBuffer pixels, alpha;
    Event ready;
    size_t bytes = 0;
    void* out = nullptr;
  };

  const int64_t width_, rows_;
  const cudaStream_t stream_;
  Uploads& uploads_;
  Downloads& downloads_;
  const Guard guard_;
  const std::shared_ptr<void> owner_;
  DeviceBuffer sums_, weights_;
  Slot slots_[2];
  Turns turns_;
};

}  // namespace wbsr::cuda

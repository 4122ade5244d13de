// Weighted sums of a band of SR rows in device memory.
#pragma once
#include <functional>
#include <memory>

#include "core/device.h"
#include "cuda/runtime.h"
#include "cuda/transfer.h"

namespace wbsr::cuda {

class CudaCanvas : public Canvas {
 public:
  // width, rows: in SR pixels. guard(work) runs work with the device current and turns its failures into the device's.
  CudaCanvas(int64_t width, int64_t rows, cudaStream_t stream, Transfer& transfer, std::function<void(const std::function<void()>&)> guard,
             std::shared_ptr<void> owner);
  ~CudaCanvas() override;

  void move(int64_t from, int64_t kept, int64_t rows) override;
  void finish(int64_t first, int64_t rows, int channels, const float* alpha, Sample type, void* out) override;
  int64_t bytes() const override { return static_cast<int64_t>(sums_.bytes() + weights_.bytes() + pixels_.bytes() + alpha_.bytes()); }

  int32_t* sums() const { return sums_.as<int32_t>(); }
  int32_t* weights() const { return weights_.as<int32_t>(); }
  int64_t width() const { return width_; }
  int64_t rows() const { return rows_; }
  const void* owner() const { return owner_.get(); }

 private:
  const int64_t width_, rows_;
  const cudaStream_t stream_;
  Transfer& transfer_;
  const std::function<void(const std::function<void()>&)> guard_;
  const std::shared_ptr<void> owner_;  // whose stream and transfer are used: must not go first
  DeviceBuffer sums_, weights_, pixels_, alpha_;
};

}  // namespace wbsr::cuda

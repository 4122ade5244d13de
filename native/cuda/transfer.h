// Copies between host memory and the device through two page-locked buffers: while one is in flight the other is
// filled or emptied. The driver would block on asynchronous copies of pageable memory.
#pragma once
#include <cstddef>

#include "cuda/runtime.h"

namespace wbsr::cuda {

class Transfer {
 public:
  // Asynchronous but for waiting on the pinned buffers: `host` may be reused when it returns.
  void upload(void* device, const void* host, size_t bytes, cudaStream_t stream);
  // Waits for everything on `stream` that comes before, and for the data.
  void download(void* host, const void* device, size_t bytes, cudaStream_t stream);
  size_t bytes() const { return halves_[0].memory.bytes() + halves_[1].memory.bytes(); }

 private:
  static constexpr size_t kMost = size_t{8} << 20;  // per buffer: long enough for full speed, short enough to overlap
  struct Half {
    PinnedBuffer memory;
    Event done;
  };
  Half halves_[2];
  int next_ = 0;
};

}  // namespace wbsr::cuda

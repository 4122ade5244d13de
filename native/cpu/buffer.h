// The working memory of a device.
#pragma once
#include <cstdint>
#include <utility>

namespace wbsr::cpu {

// Memory that grows to what its largest user needs and is never initialised. Huge pages where the system gives them:
// feature maps are large and walked end to end.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), floats_(std::exchange(other.floats_, 0)) {}
  ~Buffer() { release(); }
  float* reserve(int64_t floats);  // what it held is lost when it grows
  float* data() const { return data_; }
  void release();
  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

 private:
  float* data_ = nullptr;
  int64_t floats_ = 0;
};

}  // namespace wbsr::cpu

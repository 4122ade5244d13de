#include "cpu/buffer.h"

#include <sys/mman.h>

#include <new>

namespace wbsr::cpu {

constexpr std::align_val_t kAlign{2 << 20};

float* Buffer::reserve(int64_t floats) {
  if (floats > floats_) {
    release();
    const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
    data_ = static_cast<float*>(::operator new(bytes, kAlign));
    floats_ = floats;
#ifdef MADV_HUGEPAGE
    madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  return data_;
}

void Buffer::release() {
  if (data_) ::operator delete(data_, kAlign);
  data_ = nullptr;
  floats_ = 0;
}

}  // namespace wbsr::cpu

#include "cpu/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

namespace wbsr::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

#ifdef __SANITIZE_ADDRESS__
// From the heap, so that AddressSanitizer sees what is read beyond the ends.
void* take(size_t bytes) { return ::operator new(bytes, std::align_val_t{64}); }
void give(void* memory, size_t) { ::operator delete(memory, std::align_val_t{64}); }
#else
// From the system, to which all of it goes back: malloc keeps what is freed in one arena per thread, each model has a
// thread of its own, and blocks aligned to huge pages leave holes there (1.8 MB more for each model that came and went).
void* take(size_t bytes) {
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  // Huge pages begin at multiples of their size. What is mapped before and after the block is unmapped again.
  const size_t spare = bytes >= kHugePage ? kHugePage : 0;
  void* mapped = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  if (spare == 0) return mapped;
  char* const first = static_cast<char*>(mapped);
  const size_t before = (kHugePage - reinterpret_cast<uintptr_t>(first) % kHugePage) % kHugePage;
  if (before > 0) munmap(first, before);
  if (before < spare) munmap(first + before + bytes, spare - before);
#ifdef MADV_HUGEPAGE
  madvise(first + before, bytes, MADV_HUGEPAGE);
#endif
  return first + before;
}
void give(void* memory, size_t bytes) { munmap(memory, bytes); }
#endif

// Whole pages, which munmap takes.
size_t bytesOf(int64_t floats) {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (static_cast<size_t>(floats) * sizeof(float) + page - 1) / page * page;
}

}  // namespace

float* Buffer::reserve(int64_t floats) {
  if (floats > floats_) {
    release();
    data_ = static_cast<float*>(take(bytesOf(floats)));
    floats_ = floats;
  }
  return data_;
}

void Buffer::release() {
  if (data_) give(data_, bytesOf(floats_));
  data_ = nullptr;
  floats_ = 0;
}

}  // namespace wbsr::cpu

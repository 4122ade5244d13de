// Runs the threads of a kernel launch on the host, one block at a time (fibers.cc). The process ends with a message when
// threads wait for ever: at a barrier that not all threads of the block reach, or a warp collective that not all lanes do.
#pragma once
#include <functional>
#include <source_location>
#include <string>
#include <vector>

#include "host_types.h"

namespace wbsr::host_cuda {

struct Launch {
  const void* kernel;
  std::function<void()> body;  // what one thread does
  dim3 grid, block;
  size_t shared;
  int threads() const { return static_cast<int>(block.x * block.y * block.z); }
  uint64_t blocks() const { return uint64_t{grid.x} * grid.y * grid.z; }
  std::string text() const;  // "kernel name(...) <<<(1, 1, 1), (32, 1, 1), 0>>>", for messages
};

// Where a thread waits. Two threads that wait at different places for the same barrier are an error.
struct Site {
  const char* what;
  std::source_location where;
  std::string text() const;
};

// Runs the launch to its end. One at a time in the process: __shared__ variables are statics.
void runLaunch(const Launch& launch);

// Prints the message and the running launch, and aborts.
[[noreturn]] void fail(const std::string& message);

// --- for code inside of a kernel ---
void* dynamicShared();  // exactly as many bytes as the launch asked for, all 0xff when a block begins; null for none
void blockBarrier(const Site& site);
void warpBarrier(unsigned mask, const Site& site);
// Gives every lane the values of all lanes, and orders no other memory, as on a device; those of lanes that the block has not are all ones. Valid until the
// next but one collective.
const uint64_t* warpExchange(unsigned mask, uint64_t value, const Site& site);
// The same for several words, of whole warps.
struct Words {
  unsigned word[6];
};
const Words* warpExchangeWords(const Words& words, const Site& site);
// Copies that the calling thread has queued and not waited for (matrix_functions.cc). It must not end with any.
struct AsyncCopies {
  struct Copy {
    void* to;
    const void* from;  // null: zeros
  };
  std::vector<Copy> queued;
  std::vector<size_t> groups;  // how many of them lie before the end of each group
};
AsyncCopies& asyncCopies();
int laneOf();     // of the calling thread
int laneCount();  // lanes of its warp that exist

constexpr int kLanes = 32;
inline uint3 threadIndex(int thread, const dim3& block) {
  const unsigned t = static_cast<unsigned>(thread);
  return {t % block.x, t / block.x % block.y, t / (block.x * block.y)};
}
inline uint3 blockIndex(uint64_t b, const dim3& grid) {
  return {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
          static_cast<unsigned>(b / (uint64_t{grid.x} * grid.y))};
}
// Dynamic shared memory of one launch, from the heap so that AddressSanitizer guards its ends.
class SharedMemory {
 public:
  explicit SharedMemory(size_t bytes);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  void spoil();  // as the next block finds it
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

}  // namespace wbsr::host_cuda

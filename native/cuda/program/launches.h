// What a pass queues on the device, in program order, on one stream or two: weight gradients, which nothing in the pass
// reads, run beside the data gradients, which all wait for each other and alone leave much of the device idle. Each
// stream keeps its order, so that sums into the gradient arena come in the order of the program.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "cuda/runtime.h"

namespace wbsr::cuda {

class Launches {
 public:
  using Work = std::function<void()>;
  // Bytes of a buffer.
  struct Range {
    const DeviceBuffer* buffer;
    int64_t begin, end;
  };

  // On the main stream. writes: what of it the side stream may read; it reads what it likes.
  void add(const Range& writes, Work work);
  // On the side stream. reads: what the main stream writes; it writes nothing that the main stream touches in this pass.
  void addBeside(std::vector<Range> reads, Work work);
  // Once all are there: which one waits for which one of the other stream.
  void schedule();

  // Queues all of it; however it ends, what comes next on `main` comes after what was queued on `side`. An event of a
  // capture must not meet one of before it: each kind of run has its own.
  enum Kind { Direct, Captured };
  void run(cudaStream_t main, cudaStream_t side, Kind kind);

  // For checks, by index in program order.
  struct Entry {
    Work work;
    bool beside;
    std::vector<Range> touches;  // reads of the side stream, what the main stream writes
    int waitsFor = -1;           // an entry of the other stream
    int event = -1;              // recorded behind it, where others wait for it
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  int last_ = -1;      // the side stream's last entry
  bool join_ = false;  // the main stream waits for it at the end
  std::unique_ptr<Event[]> events_[2];
};

}  // namespace wbsr::cuda

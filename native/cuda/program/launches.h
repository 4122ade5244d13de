// The launches of a pass, in program order, on one stream or two. Weight gradients, which nothing in the pass reads,
// run concurrently with the data gradients, which depend on each other and alone leave much of the device idle. Each
// stream keeps its order, so that additions to the gradient arena happen in program order.
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

  // On the main stream. writes: the written memory that the side stream may read. Its reads need no declaration.
  void add(const Range& writes, Work work);
  // On the side stream. reads: memory that the main stream writes. It must not write memory that the main stream uses.
  void addBeside(std::vector<Range> reads, Work work);
  // Decides which entry waits for which entry of the other stream. Called once, after the last add.
  void schedule();

  // Queues everything. Afterwards, also after a failure, new work on `main` runs after the work on `side`. Events must
  // not be shared between a capture and work outside of it, so each kind of run has its own.
  enum Kind { Direct, Captured };
  void run(cudaStream_t main, cudaStream_t side, Kind kind);

  // For checks, by index in program order.
  struct Entry {
    Work work;
    bool beside;
    std::vector<Range> touches;  // reads of the side stream, what the main stream writes
    int waitsFor = -1;           // an entry of the other stream
    int event = -1;              // recorded behind it if others wait for it
  };
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
  int last_ = -1;      // the side stream's last entry
  bool join_ = false;  // the main stream waits for it at the end
  std::unique_ptr<Event[]> events_[2];
};

}  // namespace wbsr::cuda

// Two slots that alternate between jobs of two parts: a job is begun on one thread and waited for on another one, while
// the next is begun. Every ticket is given back, in order, also after a failure: a begin may be waiting for it.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace wbsr::cuda {

class Turns {
 public:
  // The next job's ticket, as soon as its slot (ticket % 2) is free. Called by one thread.
  int64_t next() {
    std::unique_lock<std::mutex> lock(mutex_);
    freed_.wait(lock, [&] { return !taken_[next_ % 2]; });
    return next_;
  }
  // Called after the job was begun. Not called if that failed: the slot then stays free.
  void take(int64_t ticket) {
    std::lock_guard<std::mutex> lock(mutex_);
    taken_[ticket % 2] = true;
    next_ = ticket + 1;
  }
  void give(int64_t ticket) {
    std::lock_guard<std::mutex> lock(mutex_);
    taken_[ticket % 2] = false;
    freed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable freed_;
  bool taken_[2] = {};
  int64_t next_ = 0;
};

}  // namespace wbsr::cuda

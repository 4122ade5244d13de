// Seconds of device work: events around each repetition, after one that is not counted.
#pragma once
#include <chrono>
#include <vector>

#include "cuda/runtime.h"

namespace wbsr::bench {

class Stopwatch {
 public:
  Stopwatch() {
    WBSR_CUDA(cudaEventCreate(&start_));
    WBSR_CUDA(cudaEventCreate(&end_));
  }
  ~Stopwatch() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  void start(cudaStream_t stream) { WBSR_CUDA(cudaEventRecord(start_, stream)); }
  double stop(cudaStream_t stream) {
    WBSR_CUDA(cudaEventRecord(end_, stream));
    WBSR_CUDA(cudaEventSynchronize(end_));
    float milliseconds = 0;
    WBSR_CUDA(cudaEventElapsedTime(&milliseconds, start_, end_));
    return milliseconds * 1e-3;
  }

 private:
  cudaEvent_t start_ = nullptr, end_ = nullptr;
};

// Each of `repeats` figures is the mean of `inner` runs in a row, so that short work is not measured as launch gaps.
template <typename F>
std::vector<double> deviceSeconds(cudaStream_t stream, int repeats, int inner, F&& work) {
  Stopwatch watch;
  std::vector<double> seconds;
  for (int i = -1; i < repeats; ++i) {
    watch.start(stream);
    for (int n = 0; n < inner; ++n) work();
    const double each = watch.stop(stream) / inner;
    if (i >= 0) seconds.push_back(each);
  }
  return seconds;
}

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace wbsr::bench

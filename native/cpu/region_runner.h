// Runs single regions of pictures through the network, and blends their results into the pictures' sums.
#pragma once
#include "core/device.h"
#include "cpu/executable_cache.h"

namespace wbsr::cpu {

// A picture as infer() reads it.
struct Source {
  const float* rgb;  // (height, width, 3)
  int width;
  float *sum, *weight;  // (height * scale, width * scale, 3) and (height * scale, width * scale)
};

// The result of a region: (3, covered.height * scale, covered.width * scale).
struct RegionResult {
  Keep covered;  // in LR pixels of the region
  Buffer values;
};

class RegionRunner {
 public:
  RegionRunner(Context& context, ExecutableCache& executables) : context_(context), executables_(executables) {}
  // Throws WBSR_ABORTED when cancelled.
  void run(const Region& region, const Source& source, const volatile int32_t* cancel, RegionResult& result);
  // (batch, 3, height, width) -> (batch, 3, height * scale, width * scale)
  void forward(int subnet, const float* input, float* output, int batch, int height, int width);
  int64_t bytes() const { return input_.bytes(); }

 private:
  Context& context_;
  ExecutableCache& executables_;
  Buffer input_;
};

// A runner for one thread: everything but the packed weights is its own.
class ThreadRunner {
 public:
  ThreadRunner(const Context& device) : context_(device.graph, device.weights) {
    context_.closing = device.closing;
    context_.precision = device.precision;
  }
  RegionRunner& runner() { return runner_; }
  int64_t bytes() const { return context_.bytes() + runner_.bytes(); }

 private:
  Context context_;
  ExecutableCache executables_{context_};
  RegionRunner runner_{context_, executables_};
};

// Adds the kept part of the result, weighted by the region's ramps. Calls for one picture must not run at the same time,
// and their order decides the last bits of the sums.
void blend(const Region& region, const RegionResult& result, const Source& source, int scale,
           const simd::Kernels& kernels);

}  // namespace wbsr::cpu

#include "cuda/context.h"

namespace wbsr::cuda {

Context::Context(const wbsr::Graph& g, const DeviceOptions& o)
    : graph(g),
      options(o),
      half(o.precision == Precision::Bf16),
      plans(sharedConvPlans(o.index, o.autotune)),
      convHandle(plans->makeHandle()),
      weights(std::make_unique<Weights>(g, o.precision, stream)) {
  lossParameters.reserve(sizeof(LossParameters));
  lossSums.reserve(kLossSums * sizeof(double));
}

void Context::reserve(DeviceBuffer& buffer, size_t bytes) {
  if (bytes <= buffer.bytes()) return;
  stream.synchronise();  // work in flight may still use the old memory
  ++generation;
  buffer.reserve(bytes);
}

void Context::setLossHasFrequency(bool value) {
  if (lossHasFrequency != value) ++generation;
  lossHasFrequency = value;
}

int64_t Context::bytes() const {
  size_t sum = 0;
  for (const DeviceBuffer* b : {&arena, &input, &output, &target, &workspace, &scratch, &sideWorkspace, &sideScratch,
                                &gradientParts, &lossScratch, &lossParameters, &lossSums, &cropOffsets})
    sum += b->bytes();
  return static_cast<int64_t>(sum) + weights->bytes();
}

void Context::trim() {
  stream.synchronise();
  ++generation;
  for (DeviceBuffer* b : {&arena, &input, &output, &target, &workspace, &scratch, &sideWorkspace, &sideScratch,
                          &gradientParts, &cropOffsets})
    b->release();
}

}  // namespace wbsr::cuda

#include "cuda/program/values.h"

#include "core/error.h"

namespace wbsr::cuda {

void* Values::at(int value) const {
  if (value == program_.input) return context_.input.as();
  if (value == program_.output) return context_.output.as();
  WBSR_CHECK(program_.offsets[static_cast<size_t>(value)] >= 0);
  return context_.arena.as<float>() + program_.offsets[static_cast<size_t>(value)];
}

Launches::Range Values::range(int value) const {
  const int64_t bytes = elements(value) * static_cast<int64_t>(isHalf(value) ? sizeof(bf16) : sizeof(float));
  if (value == program_.input) return {&context_.input, 0, bytes};
  if (value == program_.output) return {&context_.output, 0, bytes};
  const int64_t offset = program_.offsets[static_cast<size_t>(value)] * static_cast<int64_t>(sizeof(float));
  WBSR_CHECK(offset >= 0);
  return {&context_.arena, offset, offset + bytes};
}

void* Values::copyOf(int value) const { return at<float>(value) + elements(value); }

Launches::Range Values::rangeOfCopy(int value) const {
  const Launches::Range values = range(value);
  return {values.buffer, values.end, values.end + elements(value) * static_cast<int64_t>(sizeof(bf16))};
}

}  // namespace wbsr::cuda

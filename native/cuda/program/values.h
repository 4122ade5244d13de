// Addresses and types of the values of a planned Program on the device.
#pragma once
#include "core/program.h"
#include "cuda/context.h"
#include "cuda/program/launches.h"
#include "cuda/program/layout.h"

namespace wbsr::cuda {

class Values {
 public:
  Values(const Context& context, const Program& program) : context_(context), program_(program) {}

  Layout layout(int value) const { return layoutOf(program_.values[static_cast<size_t>(value)]); }
  // Wide values of a bf16 device are bf16, all others float.
  bool isHalf(int value) const { return context_.half && layout(value).kind == Layout::Wide; }
  // Of the whole batch, padding included.
  int64_t elements(int value) const { return layout(value).image() * program_.batch; }

  // The address, valid until the context's memory moves, so launches call this when they run.
  void* at(int value) const;
  template <typename T>
  T* at(int value) const {
    return static_cast<T*>(at(value));
  }
  // null for value -1, an operand that a step does not have.
  template <typename T>
  T* atOrNull(int value) const {
    return value >= 0 ? at<T>(value) : nullptr;
  }
  Launches::Range range(int value) const;

  // A copy in bf16 lies behind a thin or pooled value of a bf16 device: convolutions on tensor cores read it.
  bool readsCopy(int value) const { return context_.half && layout(value).kind != Layout::Wide; }
  void* copyOf(int value) const;
  Launches::Range rangeOfCopy(int value) const;
  // Of the operand of a convolution: the copy or the value.
  Launches::Range rangeOfOperand(int value) const { return readsCopy(value) ? rangeOfCopy(value) : range(value); }

 private:
  const Context& context_;
  const Program& program_;
};

}  // namespace wbsr::cuda

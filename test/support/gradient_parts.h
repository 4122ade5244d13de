// The parts of a pass's gradients and the lists of their sums (native/cuda/gradient_sums.h), in device memory.
#pragma once
#include <memory>
#include <vector>

#include "cuda/gradient_sums.h"
#include "support/cuda_check.h"

namespace wbsr::test {

struct GradientParts {
  explicit GradientParts(const cuda::GradientSums& sums)
      : memory(sums.bytes() / sizeof(float), "parts"),
        tables(sums.tables([&](const auto& list) { return copyOf(list); })) {}

  template <typename T>
  T* at(int64_t place) const {
    return reinterpret_cast<T*>(memory.data() + place);
  }
  void addTo(float* gradient, cudaStream_t stream) const {
    cuda::addGradientSums(tables, memory.data(), gradient, stream);
  }

 private:
  std::vector<std::shared_ptr<void>> lists_;  // before the tables, which are made of them

  template <typename T>
  const T* copyOf(const std::vector<T>& list) {
    auto made = std::make_shared<DeviceArray<T>>(list);
    lists_.push_back(made);
    return made->data();
  }

 public:
  DeviceArray<float> memory;
  const cuda::GradientSumTables tables;
};

}  // namespace wbsr::test

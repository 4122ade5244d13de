// What the checks of CUDA kernels share. The same check runs on the host (test/native/cuda/host_cuda) and on a GPU: only the
// runtime API is used.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "support/check.h"
#ifdef WBSR_HOST_CUDA
#include "control.h"
#endif

namespace wbsr::test {

#define CUDA_OK(call) ::wbsr::test::cudaOk((call), #call, __FILE__, __LINE__)
inline void cudaOk(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  std::printf("%s (%s) in %s at %s:%d\n", cudaGetErrorName(status), cudaGetErrorString(status), call, file, line);
  std::exit(2);
}

// An array in device memory between two guard zones. It begins full of NaN (bytes 0xff), so that what a kernel does not
// write, or reads without need, shows. The destructor checks that the zones are as they were.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count, std::string name = "array") : count_(count), name_(std::move(name)) {
    CUDA_OK(cudaMalloc(&memory_, 2 * kGuard + bytes()));
    CUDA_OK(cudaMemset(memory_, kGuardByte, 2 * kGuard + bytes()));
    spoil();
  }
  explicit DeviceArray(const std::vector<T>& values, std::string name = "array")
      : DeviceArray(values.size(), std::move(name)) {
    upload(values);
  }
  ~DeviceArray() {
    checkGuards();
    CUDA_OK(cudaFree(memory_));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return reinterpret_cast<T*>(memory_ + kGuard); }
  operator T*() const { return data(); }
  size_t size() const { return count_; }
  size_t bytes() const { return count_ * sizeof(T); }

  void spoil() { fill(0xff); }
  void zero() { fill(0); }
  void upload(const std::vector<T>& values) {
    check(values.size() == count_, name_ + ": as many values as the array has");
    if (count_) CUDA_OK(cudaMemcpy(data(), values.data(), bytes(), cudaMemcpyHostToDevice));
  }
  // Waits for the device.
  std::vector<T> download() const {
    std::vector<T> values(count_);
    CUDA_OK(cudaDeviceSynchronize());
    if (count_) CUDA_OK(cudaMemcpy(values.data(), data(), bytes(), cudaMemcpyDeviceToHost));
    return values;
  }
  void checkGuards() const {
    std::vector<unsigned char> zone(kGuard);
    CUDA_OK(cudaDeviceSynchronize());
    for (const size_t at : {size_t{0}, kGuard + bytes()}) {
      CUDA_OK(cudaMemcpy(zone.data(), memory_ + at, kGuard, cudaMemcpyDeviceToHost));
      size_t wrong = 0;
      for (const unsigned char byte : zone) wrong += byte != kGuardByte;
      check(wrong == 0,
            name_ + ": " + std::to_string(wrong) + " bytes written " + (at == 0 ? "before" : "behind") + " the array");
    }
  }

 private:
  static constexpr size_t kGuard = 1024;
  static constexpr unsigned char kGuardByte = 0xa5;
  void fill(int byte) {
    if (count_) CUDA_OK(cudaMemset(data(), byte, bytes()));
  }
  unsigned char* memory_ = nullptr;
  size_t count_;
  std::string name_;
};

inline std::vector<__nv_bfloat16> toBf16(const std::vector<float>& values) {
  std::vector<__nv_bfloat16> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = __float2bfloat16(values[i]);
  return result;
}
inline std::vector<float> toFloat(const std::vector<__nv_bfloat16>& values) {
  std::vector<float> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = __bfloat162float(values[i]);
  return result;
}
inline const std::vector<float>& toFloat(const std::vector<float>& values) { return values; }
// The same in T: bf16 or float; and a value as it is after it was stored in T.
template <typename T>
std::vector<T> to(const std::vector<float>& values) {
  if constexpr (sizeof(T) == 2)
    return toBf16(values);
  else
    return values;
}
template <typename T>
float stored(float value) {
  if constexpr (sizeof(T) == 2)
    return __bfloat162float(__float2bfloat16(value));
  else
    return value;
}
template <typename T>
std::vector<float> stored(const std::vector<float>& values) {
  return toFloat(to<T>(values));
}

inline std::vector<float> randomVector(size_t count, uint64_t seed, double low = -1, double high = 1) {
  Random random{seed};
  for (int i = 0; i < 4; ++i) random.next();
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(low + (high - low) * (random.next() + 1) / 2);
  return values;
}

// |actual - expected| <= absolute + relative x |expected| everywhere; not a number only where expected is not one. Tells
// the worst element.
template <typename A, typename E>
bool closeTo(const std::vector<A>& actual, const std::vector<E>& expected, double absolute, double relative,
             const std::string& what) {
  if (actual.size() != expected.size()) {
    check(false, what + ": " + std::to_string(actual.size()) + " values instead of " + std::to_string(expected.size()));
    return false;
  }
  size_t wrong = 0, worst = 0;
  double most = 0;  // how far beyond the tolerance, as a factor
  for (size_t i = 0; i < actual.size(); ++i) {
    const double a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    if ((std::isnan(a) && std::isnan(e)) || a == e) continue;
    const double tolerance = absolute + relative * std::fabs(e);
    const double distance = std::fabs(a - e);
    if (distance <= tolerance) continue;
    ++wrong;
    const double factor = std::isnan(distance) || std::isinf(e) ? HUGE_VAL
                        : tolerance > 0                         ? distance / tolerance
                                                                : distance;
    if (wrong == 1 || factor > most) worst = i, most = factor;
  }
  std::string message = what;
  if (wrong) {
    char text[200];
    std::snprintf(text, sizeof text,
                  ": %zu of %zu values are off, the worst is [%zu]: %.9g instead of %.9g (tolerance %g + %g x it)",
                  wrong, actual.size(), worst, static_cast<double>(actual[worst]), static_cast<double>(expected[worst]),
                  absolute, relative);
    message += text;
  }
  check(wrong == 0, message);
  return wrong == 0;
}

// The same bits, also of NaN.
template <typename T>
bool sameBits(const std::vector<T>& actual, const std::vector<T>& expected, const std::string& what) {
  const bool same = actual.size() == expected.size() &&
                    (actual.empty() || std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(T)) == 0);
  check(same, what + ": the same bits");
  return same;
}

}  // namespace wbsr::test

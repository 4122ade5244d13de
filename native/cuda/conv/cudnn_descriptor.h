// A backend descriptor of cuDNN with an owner, and failures as exceptions that carry cuDNN's status and message.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "cuda/conv/cudnn_api.h"

namespace wbsr::cuda::cudnn {

struct Failure {
  Status status = CUDNN_STATUS_SUCCESS;
  std::string message;  // "CUDNN_STATUS_NOT_SUPPORTED in cudnnBackendFinalize(execution plan): ..."
};

// cuDNN's message about the last failing call of this thread. Must be called before any other cuDNN call.
Failure failure(Status status, const std::string& call);

// Throws Failure unless it is CUDNN_STATUS_SUCCESS.
void check(Status status, const char* call);

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)), type_(other.type_) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    std::swap(type_, other.type_);
    return *this;
  }

  RawDescriptor raw() const { return raw_; }
  void set(int name, int type, int64_t count, const void* values);
  void setInteger(int name, int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
  void setIntegers(int name, const std::vector<int64_t>& values) {
    set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
  }
  void setEnum(int name, int type, int value) { set(name, type, 1, &value); }
  void setFloat(int name, float value) { set(name, CUDNN_TYPE_FLOAT, 1, &value); }
  void setDouble(int name, double value) { set(name, CUDNN_TYPE_DOUBLE, 1, &value); }
  void setTrue(int name) {
    const bool value = true;
    set(name, CUDNN_TYPE_BOOLEAN, 1, &value);
  }
  // With the terminating 0.
  void setText(int name, const std::string& text) {
    set(name, CUDNN_TYPE_CHAR, static_cast<int64_t>(text.size()) + 1, text.c_str());
  }
  void setHandle(int name, Handle handle) { set(name, CUDNN_TYPE_HANDLE, 1, &handle); }
  void setDescriptor(int name, const Descriptor& value) { set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_); }
  void finalize();

  int64_t integer(int name) const;
  std::vector<int> enums(int name, int type) const;  // numerical and behaviour notes
  std::string text(int name) const;                  // CUDNN_TYPE_CHAR, without the 0 at its end
  // Fills `into`, a created descriptor, with the one that this one refers to.
  void descriptor(int name, Descriptor& into) const;

 private:
  RawDescriptor raw_ = nullptr;
  int type_ = -1;
};

}  // namespace wbsr::cuda::cudnn

// Reads and checks JavaScript arguments. All errors are WBSR_INVALID_OPTION, "Expected X for name but received Y".
#pragma once
#include <napi.h>
#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "bindings/jobs.h"
#include "core/error.h"

namespace wbsr::bindings {

// A value for an error message.
inline std::string describe(const Napi::Value& value) {
  if (value.IsTypedArray()) return "a typed array of " + std::to_string(value.As<Napi::TypedArray>().ElementLength());
  if (value.IsArray()) return "an array of " + std::to_string(value.As<Napi::Array>().Length());
  if (value.IsObject()) return value.IsFunction() ? "a function" : "an object";
  return value.IsEmpty() ? "nothing" : value.ToString().Utf8Value();
}

[[noreturn]] inline void throwExpected(const std::string& expected, const std::string& name,
                                       const std::string& received, Napi::Env env) {
  const Error error = invalidOption(name, expected, received);
  throwError(env, error.code.c_str(), error.what());
}
[[noreturn]] inline void throwExpected(const std::string& expected, const std::string& name, const Napi::Value& value,
                                       Napi::Env env) {
  throwExpected(expected, name, describe(value), env);
}

// "'a', 'b' or 'c'"
inline std::string oneOf(const std::vector<std::string>& names) {
  std::string all;
  for (size_t i = 0; i < names.size(); ++i)
    all += (i == 0 ? "'" : i + 1 == names.size() ? " or '" : ", '") + names[i] + "'";
  return all;
}

inline int integerArgument(const Napi::Value& value, const std::string& name, int min, int max, Napi::Env env) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    if (number == std::floor(number) && number >= min && number <= max) return static_cast<int>(number);
  }
  throwExpected("an integer between " + std::to_string(min) + " and " + std::to_string(max), name, value, env);
}

// Called before an array of that many elements is made: V8 ends the process when it cannot allocate one.
inline void requireMemory(Napi::Env env, double elements, size_t elementBytes) {
  constexpr double kMostElements = 4294967296.0;  // of a typed array in Node 20
  if (!(elements <= kMostElements))
    throwError(env, "WBSR_OUT_OF_MEMORY", "The result would have more than 2^32 numbers");
  const size_t bytes = static_cast<size_t>(elements) * elementBytes;
  if (bytes < size_t{1} << 26) return;
  void* probe = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED)
    throwError(env, "WBSR_OUT_OF_MEMORY", "Not enough memory for a result of " + std::to_string(bytes >> 20) + " MiB");
  munmap(probe, bytes);
}

inline bool booleanArgument(const Napi::Value& value, const std::string& name, Napi::Env env) {
  if (!value.IsBoolean()) throwExpected("a boolean", name, value, env);
  return value.As<Napi::Boolean>().Value();
}

// Address of a typed array's elements, also in memory that is shared between threads.
inline void* elementsOf(const Napi::TypedArray& array) {
  void* data = nullptr;
  if (napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok)
    throw Napi::Error::New(array.Env());
  return data;
}

// A typed array of one element type with exactly `length` elements (any length: -1).
template <class T>
T* arrayArgument(const Napi::Value& value, const std::string& name, napi_typedarray_type type, const char* typeName,
                 int64_t length, Napi::Env env) {
  if (value.IsTypedArray()) {
    Napi::TypedArray array = value.As<Napi::TypedArray>();
    if (array.TypedArrayType() == type && (length < 0 || static_cast<int64_t>(array.ElementLength()) == length))
      return static_cast<T*>(elementsOf(array));
  }
  throwExpected(std::string("a ") + typeName + (length < 0 ? "" : " of " + std::to_string(length)), name, value, env);
}

inline float* floatsArgument(const Napi::Value& value, const std::string& name, int64_t length, Napi::Env env) {
  return arrayArgument<float>(value, name, napi_float32_array, "Float32Array", length, env);
}

}  // namespace wbsr::bindings

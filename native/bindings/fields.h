// Reads the fields of JavaScript objects. Errors are WBSR_INVALID_OPTION, as in arguments.h.
#pragma once
#include <string>
#include <vector>

#include "bindings/arguments.h"

namespace wbsr::bindings {

inline double numberOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throwExpected("a number", name, value, object.Env());
  return value.As<Napi::Number>().DoubleValue();
}

inline int toInt(const Napi::Value& value, const char* name) {
  constexpr int kMost = 1 << 30;
  return integerArgument(value, name, -kMost, kMost, value.Env());
}

inline int intOf(const Napi::Object& object, const char* name) { return toInt(object.Get(name), name); }

inline Napi::Array arrayOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsArray()) throwExpected("an array", name, value, object.Env());
  return value.As<Napi::Array>();
}

inline std::vector<int> intsOf(const Napi::Object& object, const char* name) {
  const Napi::Array array = arrayOf(object, name);
  std::vector<int> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(toInt(array[i], name));
  return out;
}

}  // namespace wbsr::bindings

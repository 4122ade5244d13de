// The one error type of the native side. `code` is the stable WbsrError code seen from JavaScript.
#pragma once
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

namespace wbsr {

struct Error : std::runtime_error {
  std::string code;
  Error(std::string code_, const std::string& message) : std::runtime_error(message), code(std::move(code_)) {}
};

// The error for an option out of range: "Expected `expected` for `name` but received `received`", the form of
// invalidOption in lib/errors.ts.
inline Error invalidOption(const std::string& name, const std::string& expected, const std::string& received) {
  return Error("WBSR_INVALID_OPTION", "Expected " + expected + " for " + name + " but received " + received);
}

// A number formatted by %g, for `received`.
inline std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// For conditions that only a bug in this project can violate.
#define WBSR_CHECK(condition)                                                                                 \
  do {                                                                                                        \
    if (!(condition))                                                                                         \
      throw ::wbsr::Error("WBSR_INTERNAL", std::string("check failed: " #condition " at ") + __FILE__ + ":" + \
                                               std::to_string(__LINE__));                                     \
  } while (0)

}  // namespace wbsr

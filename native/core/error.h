// The one error type of the native side. `code` is the stable WbsrError code seen from JavaScript.
#pragma once
#include <stdexcept>
#include <string>
#include <utility>

namespace wbsr {

struct Error : std::runtime_error {
  std::string code;
  Error(std::string code_, const std::string& message) : std::runtime_error(message), code(std::move(code_)) {}
};

// For conditions that only a mistake in our own code can break.
#define WBSR_CHECK(condition)                                                                                 \
  do {                                                                                                        \
    if (!(condition))                                                                                         \
      throw ::wbsr::Error("WBSR_INTERNAL", std::string("check failed: " #condition " at ") + __FILE__ + ":" + \
                                               std::to_string(__LINE__));                                     \
  } while (0)

}  // namespace wbsr

// What every native check counts and prints. Exit status: `return finish();`.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string>

namespace wbsr::test {

// Atomic: some checks are made on several threads.
inline std::atomic<int> checks = 0, failures = 0;

inline void check(bool ok, const std::string& what) {
  ++checks;
  if (ok) return;
  ++failures;
  std::printf("not ok: %s\n", what.c_str());
}

inline int finish() {
  std::printf("%d checks, %d failed\n", checks.load(), failures.load());
  return failures == 0 ? 0 : 1;
}

// Reproducible noise, uniform in [-1, 1).
struct Random {
  uint64_t state = 1;
  double next() {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<double>(state >> 11) / 4503599627370496.0 - 1.0;
  }
};

}  // namespace wbsr::test

// Random numbers that are the same on every platform, unlike the distributions of <random>.
#pragma once
#include <cstdint>

namespace wbsr {

// Steele, Lea & Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
struct SplitMix64 {
  uint64_t state;

  uint64_t next() {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }

  // [0, 1) in steps of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
};

}  // namespace wbsr

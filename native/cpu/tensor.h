// How the CPU device keeps a Value.
//
//   pooled  (N, C)
//   thin    (N, C, H, W)                  fewer than 8 channels: the RGB ends
//   blocked (N, groups * blocks, H, W, L) everything else; blocks = ceil(C / groups / L), padded channels zero.
//           L is what oneDNN chooses here with format_tag::any (16 with AVX-512, else 8).
#pragma once
#include <cstdint>

#include "core/program.h"

namespace wbsr::cpu {

struct Layout {
  enum Kind { Pooled, Thin, Blocked } kind;
  int lanes;   // 1 unless blocked
  int planes;  // images of (h, w, lanes) per batch item
  int blocks;  // per group, 0 unless blocked
  int h, w;
  int64_t image() const { return int64_t{planes} * h * w * lanes; }  // floats per batch item
};

inline Layout layoutOf(const Value& value, int lanes) {
  if (value.pooled) return {Layout::Pooled, 1, value.channels, 0, 1, 1};
  if (value.thin) return {Layout::Thin, 1, value.channels, 0, value.height, value.width};
  const int blocks = (value.channels / value.groups + lanes - 1) / lanes;
  return {Layout::Blocked, lanes, blocks * value.groups, blocks, value.height, value.width};
}

inline int roundUp(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace wbsr::cpu

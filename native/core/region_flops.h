#pragma once
#include <cstdint>

#include "core/graph.h"

namespace wbsr {

// FLOPs of a region of `pixels` LR pixels, of which the upsampling tail runs on coveredWidth x coveredHeight only. A
// subnet's FLOPs are those of 32x32 LR pixels.
inline double regionFlops(const SubnetInfo& subnet, int64_t pixels, int coveredWidth, int coveredHeight) {
  return (static_cast<double>(subnet.flops - subnet.tailFlops) * static_cast<double>(pixels) +
          static_cast<double>(subnet.tailFlops) * coveredWidth * coveredHeight) /
         1024.0;
}

}  // namespace wbsr

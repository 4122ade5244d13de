// Fused gradient-projection router: one launch reads the picture once and gives difficulty and class of every tile.
#pragma once
#include "cuda/tiles.h"

namespace wbsr::cuda {

struct RouterArguments {
  DevicePicture picture;     // 8-bit RGB: up to 15 bytes behind it are read too, whatever they hold
  int tile, columns, rows;   // tiles; the last of each row and column is clipped
  const double* thresholds;  // (classes - 1) on the device, ascending
  int classes;
  // Out, on the device; tiles row by row.
  double* difficulties;  // (tiles)
  int32_t* classOf;      // (tiles), 1 .. classes
};

void route(const RouterArguments& arguments, cudaStream_t stream);

}  // namespace wbsr::cuda

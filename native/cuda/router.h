// Fused gradient-projection router: one launch reads the picture once and gives difficulty, class and subnet of every
// tile, the number of tiles of every subnet and their list.
#pragma once
#include "cuda/tiles.h"

namespace wbsr::cuda {

struct RouterArguments {
  DevicePicture picture;     // 8-bit RGB: up to 15 bytes behind it are read too, whatever they hold
  int tile, columns, rows;   // tiles; the last of each row and column is clipped
  const double* thresholds;  // (classes - 1) on the device, ascending
  int classes;
  const int32_t* map;  // (classes) -> subnet on the device, or null: subnet = class - 1
  int subnets;         // how many counts there are; tiles of other subnets are in no list
  // Out, on the device; tiles row by row.
  double* difficulties;  // (tiles)
  int32_t* classOf;      // (tiles), 1 .. classes
  int32_t* subnetOf;     // (tiles)
  int32_t* counts;       // (subnets); null like lists
  int32_t* lists;  // (tiles): tile numbers, ascending within each subnet, subnets one after the other; null: not wanted
};

size_t routerScratch(int64_t tiles);  // zeroed once before the first use; left zeroed
void route(const RouterArguments& arguments, void* scratch, cudaStream_t stream);

}  // namespace wbsr::cuda

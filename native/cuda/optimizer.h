// Adam + EMA + packing of the weight slices in one launch over all parameters.
#pragma once
#include <cstdint>
#include <vector>

#include "core/graph.h"
#include "core/math/adam.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

constexpr int kMaxWidths = 16;

// One packed copy of a slice of a parameter, which is (rows, columns, area): a weight (outPadded, area, inPadded) of T as
// cuDNN reads it, inPadded a multiple of 8; or a parameter of one column (area, outPadded) float, inChannels = inPadded = 1.
// Its owner zeroes it once; nothing else is ever written to padding.
struct Pack {
  void* data = nullptr;
  int outChannels = 0, inChannels = 0;  // the slice: its rows and columns
  int outPadded = 0, inPadded = 0;
  // > 1: a convolution in groups as one that is not, with zeros between: row r's columns begin at
  // r / (outChannels / convGroups) * inChannels.
  int convGroups = 1;
  int groups = 1;     // > 1: row c * groups + p of the slice goes to row p * padded(outChannels / groups) + c
  bool bf16 = false;  // else float
  // Device memory: the parameter's row or column for each of the slice's, and the inverse, -1 for what is not in the
  // slice. Null: the slice is the first ones.
  const int *rows = nullptr, *columns = nullptr, *rowOf = nullptr, *columnOf = nullptr;
};

// One parameter of the flat arenas, as the kernel reads it.
struct ParameterEntry {
  int64_t offset;                       // in floats
  int rows, columns, area;              // weight (O, I, k * k); bias: (O, 1, 1)
  int firstRowShell, firstColumnShell;  // into the shells: one number per row, per column
  int firstPack, packs;                 // into the list of packs
  int firstStep;                        // into the AdamSteps: one per width shell
};

// The part of one thread block: whole rows of a parameter, or a range of channels of one long row. Contiguous in the
// arenas.
struct OptimizerChunk {
  int parameter;
  int firstRow, rows;
  int firstColumn, columns;  // multiples of 8 where a row is split
  int shell;                 // no element is in a lower one
};

// On the host, to be copied to the device.
struct ParameterTable {
  std::vector<ParameterEntry> entries;
  std::vector<uint8_t> shells;  // element (r, c) of a parameter is in the larger of row r's and column c's
};
// Leaves firstPack and packs 0 for the caller to fill. Throws WBSR_INVALID_OPTION above kMaxWidths widths.
ParameterTable parameterTable(const wbsr::Graph& graph);
std::vector<OptimizerChunk> optimizerChunks(const ParameterTable& table);

struct OptimizerArguments {
  const ParameterEntry* parameters;  // device
  const uint8_t* shells;             // device
  const OptimizerChunk* chunks;
  int chunkCount;     // device
  const Pack* packs;  // device
  int widths;
  // Update: steps (parameters, widths), device, of core/adam_steps.h; touched[p], device: largest width shell that the step
  // ran, -1: none.
  const math::AdamStep* steps;
  const int32_t* touched;
  float *weights, *m, *v, *ema;
  const float* gradient;  // flat arenas, device; ema null: none is kept
  // Not 0: some loss or gradient was not finite; then nothing is written. The kernel only reads it.
  const int32_t* stop;
};

// update and pack in one pass. Elements outside the touched shells are left alone.
void adamStepAndPack(const OptimizerArguments& arguments, cudaStream_t stream);
// Only refreshes the packs from the weights: reads parameters, chunks, packs and weights, not stop.
void packWeights(const OptimizerArguments& arguments, cudaStream_t stream);
// *stop |= 1 where any of count gradients, or any of sumCount loss sums (doubles), is not finite.
void checkFinite(const float* gradient, int64_t count, const double* sums, int sumCount, int32_t* stop,
                 cudaStream_t stream);

}  // namespace wbsr::cuda

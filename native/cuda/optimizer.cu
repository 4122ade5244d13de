// One launch updates every parameter and refreshes every packed copy of it: a thread block takes a chunk (whole rows, or
// part of a long one) that is contiguous in the arenas, updates it, keeps the new weights in shared memory and writes
// them from there in the order of the packs. Arenas and packs are both accessed coalesced, weights are read once.
//
// The arenas are accessed by 4 bytes, because rows have no alignment (a row of an RGB convolution has 27 floats). With
// kPerThread elements of five arrays in flight per thread the memory is busy nevertheless.
#include "cuda/optimizer.h"

#include <algorithm>

#include "core/adam_steps.h"
#include "cuda/kernels/vectors.h"
#include "cuda/pack_rows.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPerThread = 3;
constexpr int kChunkFloats = 1152;  // two rows of a 64-channel 3 x 3 convolution: 9 elements per thread
constexpr int kLargestKernel = 15;  // Graph's limit: eight channels are the least that a chunk has of a split row
constexpr int kStagedFloats = std::max(kChunkFloats, kVector* kLargestKernel* kLargestKernel);

// packChunk() for slices that are not the first rows and columns, or that are grouped: element by element.
template <typename T>
__device__ void scatterChunk(const Pack& pack, T* data, const OptimizerChunk& chunk, const float* staged, int area) {
  for (int i = static_cast<int>(threadIdx.x); i < chunk.rows * chunk.columns * area; i += kThreads) {
    const int tap = i % area, c = chunk.firstColumn + i / area % chunk.columns,
              r = chunk.firstRow + i / area / chunk.columns;
    const int row = pack.rowOf ? pack.rowOf[r] : r, column = pack.columnOf ? pack.columnOf[c] : c;
    if (row < 0 || row >= pack.outChannels || column < 0 || column >= pack.inChannels) continue;
    const int64_t at = pack.inPadded == 1 ? int64_t{tap} * pack.outPadded + packedRow(pack, row)
                                          : (int64_t{packedRow(pack, row)} * area + tap) * pack.inPadded +
                                                firstColumnOf(pack, row) + column;
    data[at] = fromFloat<T>(staged[i]);
  }
}

// staged (rows, columns, area): the chunk's weights -> data (outPadded, area, inPadded), the chunk's part of the slice.
template <typename T>
__device__ void packChunk(const Pack& pack, T* data, const OptimizerChunk& chunk, const float* staged, int area) {
  if (pack.rowOf || pack.columnOf || pack.convGroups > 1) return scatterChunk(pack, data, chunk, staged, area);
  const int rows = min(chunk.rows, pack.outChannels - chunk.firstRow);
  const int columns = min(chunk.columns, pack.inChannels - chunk.firstColumn);
  if (rows <= 0 || columns <= 0) return;
  if (pack.inPadded == 1) {  // one column: a bias, filters of a depthwise convolution
    for (int i = static_cast<int>(threadIdx.x); i < rows * area; i += kThreads)
      data[int64_t{i % area} * pack.outPadded + packedRow(pack, chunk.firstRow + i / area)] = fromFloat<T>(staged[i]);
    return;
  }
  const int vectors = (columns + kVector - 1) / kVector, perRow = area * vectors;
  for (int i = static_cast<int>(threadIdx.x); i < rows * perRow; i += kThreads) {
    const int r = i / perRow, tap = i % perRow / vectors, first = i % vectors * kVector;
    const float* from = staged + (r * chunk.columns + first) * area + tap;
    float v[kVector];
#pragma unroll
    for (int k = 0; k < kVector; ++k) v[k] = first + k < columns ? from[k * area] : 0.f;
    const int64_t row = int64_t{packedRow(pack, chunk.firstRow + r)} * area + tap;
    store(data + row * pack.inPadded + chunk.firstColumn + first, v);
  }
}

template <bool Update>
__global__ void __launch_bounds__(kThreads, 8) optimizerKernel(OptimizerArguments a) {
  __shared__ float staged[kStagedFloats];
  __shared__ math::AdamStep steps[kMaxWidths];
  const int thread = static_cast<int>(threadIdx.x);
  const OptimizerChunk chunk = a.chunks[blockIdx.x];
  const ParameterEntry& parameter = a.parameters[chunk.parameter];
  const int area = parameter.area, count = chunk.rows * chunk.columns * area;
  const int64_t base = parameter.offset + (int64_t{chunk.firstRow} * parameter.columns + chunk.firstColumn) * area;

  if constexpr (Update) {
    const int touched = a.touched[chunk.parameter];
    if (*a.stop != 0 || touched < 0 || chunk.shell > touched) return;  // the same for all threads
    if (thread <= touched) steps[thread] = a.steps[parameter.firstStep + thread];
    __syncthreads();
    const uint8_t* const rowShells = a.shells + parameter.firstRowShell;
    const uint8_t* const columnShells = a.shells + parameter.firstColumnShell;
    for (int begin = 0; begin < count; begin += kThreads * kPerThread) {
      float w[kPerThread], g[kPerThread], m[kPerThread], v[kPerThread], ema[kPerThread];
      int shell[kPerThread];  // -1: not touched
#pragma unroll
      for (int k = 0; k < kPerThread; ++k) {
        const int i = begin + k * kThreads + thread;
        shell[k] = -1;
        if (i >= count) continue;
        const int row = chunk.firstRow + i / (chunk.columns * area),
                  column = chunk.firstColumn + i / area % chunk.columns;
        const int64_t at = base + i;
        w[k] = a.weights[at];
        const int its = max(int{rowShells[row]}, int{columnShells[column]});
        if (its > touched) continue;
        shell[k] = its;
        g[k] = a.gradient[at];
        m[k] = a.m[at];
        v[k] = a.v[at];
        ema[k] = a.ema ? a.ema[at] : 0.f;
      }
#pragma unroll
      for (int k = 0; k < kPerThread; ++k) {
        const int i = begin + k * kThreads + thread;
        if (i >= count) continue;
        if (shell[k] >= 0) {
          const math::AdamStep& step = steps[shell[k]];
          const int64_t at = base + i;
          math::adamStep(w[k], g[k], m[k], v[k], step);
          a.weights[at] = w[k];
          a.m[at] = m[k];
          a.v[at] = v[k];
          if (a.ema) {
            math::emaStep(ema[k], w[k], step);
            a.ema[at] = ema[k];
          }
        }
        staged[i] = w[k];
      }
    }
  } else {
    for (int i = thread; i < count; i += kThreads) staged[i] = a.weights[base + i];
  }
  __syncthreads();
  for (int p = 0; p < parameter.packs; ++p) {
    const Pack& pack = a.packs[parameter.firstPack + p];
    if (pack.bf16)
      packChunk(pack, static_cast<bf16*>(pack.data), chunk, staged, area);
    else
      packChunk(pack, static_cast<float*>(pack.data), chunk, staged, area);
  }
}

constexpr int kFiniteThreads = 256;
constexpr int kFinitePerThread = 4;

__device__ bool notFinite(float x) { return (math::floatBits(x) & 0x7f800000) == 0x7f800000; }

// gradient (count), sums (sumCount)
__global__ void __launch_bounds__(kFiniteThreads)
    checkFiniteKernel(const float* gradient, int64_t count, const double* sums, int sumCount, int32_t* stop) {
  bool bad = false;
  const int64_t first = (int64_t{blockIdx.x} * kFiniteThreads + threadIdx.x) * 4;
  const int64_t stride = int64_t{gridDim.x} * kFiniteThreads * 4;
#pragma unroll 4
  for (int64_t at = first; at < count; at += stride) {
    if (at + 4 <= count) {
      const float4 v = *reinterpret_cast<const float4*>(gradient + at);
      bad |= notFinite(v.x) | notFinite(v.y) | notFinite(v.z) | notFinite(v.w);
    } else {
      for (int64_t i = at; i < count; ++i) bad |= notFinite(gradient[i]);
    }
  }
  if (blockIdx.x == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < sumCount; i += kFiniteThreads) {
      const double x = sums[i];
      bad |= !(x - x == 0.0);  // infinity and NaN give NaN
    }
  }
  if (bad) atomicOr(stop, 1);
}

// ---------------------------------------------------------------------------------------------------------------------

template <bool Update>
void run(const OptimizerArguments& arguments, cudaStream_t stream) {
  launch(optimizerKernel<Update>, dim3(static_cast<unsigned>(arguments.chunkCount)), dim3(kThreads), 0, stream,
         arguments);
}

}  // namespace

ParameterTable parameterTable(const wbsr::Graph& graph) {
  const size_t widths = graph.widths().size();
  if (widths > kMaxWidths)
    throw invalidOption("widths", "at most " + std::to_string(kMaxWidths) + " entries (on a CUDA device)",
                        std::to_string(widths));
  const std::vector<ParameterShells> all = parameterShells(graph);
  ParameterTable table;
  for (size_t p = 0; p < all.size(); ++p) {
    const ParameterShells& shells = all[p];
    ParameterEntry e{};
    e.offset = graph.parameters()[p].offset;
    e.rows = static_cast<int>(shells.rows.size());
    e.columns = static_cast<int>(shells.columns.size());
    e.area = shells.area;
    e.firstStep = static_cast<int>(p * widths);
    e.firstRowShell = static_cast<int>(table.shells.size());
    table.shells.insert(table.shells.end(), shells.rows.begin(), shells.rows.end());
    e.firstColumnShell = static_cast<int>(table.shells.size());
    table.shells.insert(table.shells.end(), shells.columns.begin(), shells.columns.end());
    table.entries.push_back(e);
  }
  return table;
}

std::vector<OptimizerChunk> optimizerChunks(const ParameterTable& table) {
  std::vector<OptimizerChunk> chunks;
  const auto lowest = [&](int first, int count) {
    const auto from = table.shells.begin() + first;
    return int{*std::min_element(from, from + count)};
  };
  for (size_t p = 0; p < table.entries.size(); ++p) {
    const ParameterEntry& e = table.entries[p];
    const int rows = std::max(1, static_cast<int>(kChunkFloats / (int64_t{e.columns} * e.area)));
    const bool split = int64_t{e.columns} * e.area > kChunkFloats;
    const int columns = split ? std::max(kVector, kChunkFloats / e.area / kVector * kVector) : e.columns;
    for (int row = 0; row < e.rows; row += rows)
      for (int column = 0; column < e.columns; column += columns) {
        OptimizerChunk chunk{
            static_cast<int>(p), row, std::min(rows, e.rows - row), column, std::min(columns, e.columns - column), 0};
        chunk.shell =
            std::max(lowest(e.firstRowShell + row, chunk.rows), lowest(e.firstColumnShell + column, chunk.columns));
        chunks.push_back(chunk);
      }
  }
  return chunks;
}

void adamStepAndPack(const OptimizerArguments& arguments, cudaStream_t stream) { run<true>(arguments, stream); }
void packWeights(const OptimizerArguments& arguments, cudaStream_t stream) { run<false>(arguments, stream); }

void checkFinite(const float* gradient, int64_t count, const double* sums, int sumCount, int32_t* stop,
                 cudaStream_t stream) {
  if (count <= 0 && sumCount <= 0) return;
  const int64_t blocks = std::clamp<int64_t>(divideUp(count, int64_t{kFiniteThreads} * 4 * kFinitePerThread), 1, 2048);
  launch(checkFiniteKernel, dim3(static_cast<unsigned>(blocks)), dim3(kFiniteThreads), 0, stream, gradient, count, sums,
         sumCount, stop);
}

}  // namespace wbsr::cuda

#include "cuda/gradient_sums.h"

#include <algorithm>

#include "cuda/kernels/lane_sums.h"
#include "cuda/kernels/vectors.h"
#include "cuda/pack_rows.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBlocks = 8;  // on a multiprocessor; ptxas would keep to 32 registers for more, and spill
constexpr int kStagedFloats = 2304;
constexpr int kLargestKernel = 15;  // Graph's limit: eight channels are the least that a block has of a row
static_assert(kStagedFloats >= kVector * kLargestKernel * kLargestKernel);

// staged (n, area) = n columns of the slice's row o, from firstColumn on.
template <typename T>
__device__ void stage(const T* packed, const WeightSum& sum, int o, int firstColumn, int n, float* staged) {
  const Pack& slice = sum.slice;
  const int area = sum.area;
  const T* from = packed + int64_t{packedRow(slice, o)} * area * slice.inPadded + firstColumnOf(slice, o) + firstColumn;
  if (slice.convGroups > 1) {  // columns begin anywhere
    for (int i = static_cast<int>(threadIdx.x); i < n * area; i += kThreads)
      staged[i % n * area + i / n] = toFloat(from[int64_t{i / n} * slice.inPadded + i % n]);
    return;
  }
  const int vectors = (n + kVector - 1) / kVector;
  for (int i = static_cast<int>(threadIdx.x); i < vectors * area; i += kThreads) {
    const int tap = i / vectors, column = i % vectors * kVector;
    float v[kVector];
    load(from + int64_t{tap} * slice.inPadded + column, v);
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      if (column + k < n) staged[(column + k) * area + tap] = v[k];
  }
}

// A block has a row of a slice and up to `columns` channels of it; through shared memory, so that both sides are
// coalesced where the slice is.
__global__ void __launch_bounds__(kThreads, kBlocks)
    addWeightsKernel(const WeightSum* sums, const int* sumOf, const float* parts, float* gradient) {
  __shared__ float staged[kStagedFloats];
  const WeightSum& sum = sums[sumOf[blockIdx.x]];
  const Pack& slice = sum.slice;
  const int block = static_cast<int>(blockIdx.x) - sum.firstBlock, area = sum.area;
  const int perRow = (slice.inChannels + sum.columns - 1) / sum.columns;
  const int o = block / perRow, firstColumn = block % perRow * sum.columns;
  const int n = min(sum.columns, slice.inChannels - firstColumn);
  const float* part = parts + sum.from;
  if (sum.half)
    stage(reinterpret_cast<const bf16*>(part), sum, o, firstColumn, n, staged);
  else
    stage(part, sum, o, firstColumn, n, staged);
  __syncthreads();
  float* const row = gradient + sum.to + int64_t{slice.rows ? slice.rows[o] : o} * sum.fullIn * area;
  for (int i = static_cast<int>(threadIdx.x); i < n * area; i += kThreads) {
    const int column = firstColumn + i / area;
    row[int64_t{slice.columns ? slice.columns[column] : column} * area + i % area] += staged[i];
  }
}

// A block has kSumColumns columns of a part, in double and in an order that depends on the part alone.
__global__ void __launch_bounds__(kSumThreads)
    addChannelsKernel(const ChannelSum* sums, const int* sumOf, const float* parts, float* gradient) {
  __shared__ double shared[kSumThreads];
  const ChannelSum& sum = sums[sumOf[blockIdx.x]];
  const int element =
      (static_cast<int>(blockIdx.x) - sum.firstBlock) * kSumColumns + static_cast<int>(threadIdx.x) % kSumColumns;
  const int tap = element / sum.padded, column = element % sum.padded;
  const int perGroup = sum.channels / sum.groups, wide = sum.padded / sum.groups;
  const bool mine = tap < sum.area && column % wide < perGroup;
  const double total =
      sumPartials(mine ? parts + sum.from + element : nullptr, sum.chunks, int64_t{sum.area} * sum.padded, shared);
  if (!mine || threadIdx.x >= kSumColumns) return;
  const int channel = column % wide * sum.groups + column / wide;
  gradient[sum.to + int64_t{sum.rows ? sum.rows[channel] : channel} * sum.area + tap] += static_cast<float>(total);
}

// ---------------------------------------------------------------------------------------------------------------------

// Appends a sum of `blocks` thread blocks.
template <typename Sum>
void append(std::vector<Sum>& sums, std::vector<int>& sumOf, Sum sum, int64_t blocks) {
  sum.firstBlock = static_cast<int>(sumOf.size());
  sumOf.insert(sumOf.end(), static_cast<size_t>(blocks), static_cast<int>(sums.size()));
  sums.push_back(sum);
}

}  // namespace

int64_t GradientSums::place(int64_t floats) {
  constexpr int64_t kAlign = 64;  // 256 bytes, as cudaMalloc
  const int64_t at = floats_;
  floats_ += divideUp(floats, kAlign) * kAlign;
  return at;
}

int64_t GradientSums::add(WeightSum sum) {
  const Pack& slice = sum.slice;
  const int64_t values = int64_t{slice.outPadded} * sum.area * slice.inPadded;
  sum.from = place(sum.half ? divideUp(values, 2) : values);
  sum.columns = std::min(slice.inPadded, kStagedFloats / sum.area / kVector * kVector);
  append(weights_, weightOf_, sum, slice.outChannels * divideUp(slice.inChannels, sum.columns));
  return sum.from;
}

int64_t GradientSums::add(ChannelSum sum) {
  WBSR_CHECK(sum.channels % sum.groups == 0 && sum.padded % sum.groups == 0);
  const int64_t columns = int64_t{sum.area} * sum.padded;
  sum.from = place(sum.chunks * columns);
  append(channels_, channelOf_, sum, divideUp(columns, kSumColumns));
  return sum.from;
}

void addGradientSums(const GradientSumTables& tables, const float* parts, float* gradient, cudaStream_t stream) {
  launch(addWeightsKernel, dim3(static_cast<unsigned>(tables.weightBlocks)), dim3(kThreads), 0, stream, tables.weights,
         tables.weightOf, parts, gradient);
  launch(addChannelsKernel, dim3(static_cast<unsigned>(tables.channelBlocks)), dim3(kSumThreads), 0, stream,
         tables.channels, tables.channelOf, parts, gradient);
}

}  // namespace wbsr::cuda

#include "cuda/kernels/attention.h"

#include "cuda/kernels/activations.h"
#include "cuda/kernels/channels.h"

namespace wbsr::cuda {
namespace {

using channels::kThreads;

constexpr int kQuad = 4;           // channels that a thread reads at once
constexpr int kBlocks = 4;         // on a multiprocessor: 64 registers a thread
constexpr int kMostFloats = 8192;  // of a block's dynamic shared memory, which every card has without asking for more

__device__ inline int indexOf(const int* indices, int channel) { return indices ? indices[channel] : channel; }

// out[o] = activation(bias + weight x in), for all outs. `lanes` threads, a power of two up to a warp, share an output. Every
// thread of the block calls it.
template <typename F>
__device__ void dense(const DenseLayer& layer, const float* in, float* out, F activation) {
  int lanes = 1;
  while (lanes < 32 && lanes < layer.ins) lanes *= 2;
  const int t = static_cast<int>(threadIdx.x), lane = t % lanes;
  for (int first = 0; first < layer.outs; first += kThreads / lanes) {
    const int o = first + t / lanes;
    const bool real = o < layer.outs;
    const int row = real ? indexOf(layer.outIndices, o) : 0;
    float sum = 0.f;
    if (real)
      for (int i = lane; i < layer.ins; i += lanes)
        sum = fmaf(in[i],
                   layer.weight[(row * layer.fullIn + indexOf(layer.inIndices, i)) * layer.area + layer.area / 2], sum);
    for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (real && lane == 0) out[o] = activation(sum + (layer.bias ? layer.bias[row] : 0.f));
  }
}

// partial (N, chunks, channels), sums over pixels -> factors (N, outChannels). A block per image.
template <typename F>
__global__ void __launch_bounds__(kThreads, kBlocks)
    attentionKernel(const float* partial, float* factors, Attention a, int chunks, F activation) {
  __shared__ double sums[kQuad][kThreads];
  WBSR_SHARED(float, means);                   // (channels)
  float* const squeezed = means + a.channels;  // (squeeze.outs)
  const int t = static_cast<int>(threadIdx.x), quads = a.channels / kQuad;
  const int group = min(quads, kThreads), lanes = kThreads / group, lane = t / group;
  const float* const image = partial + int64_t{blockIdx.x} * chunks * a.channels;
  for (int first = 0; first < quads; first += group) {
    const int quad = first + t % group;
    const bool active = lane < lanes && quad < quads;
    double sum[kQuad] = {};
    if (active)
#pragma unroll 4
      for (int chunk = lane; chunk < chunks; chunk += lanes) {
        const float4 v = *reinterpret_cast<const float4*>(image + int64_t{chunk} * a.channels + quad * kQuad);
        sum[0] += static_cast<double>(v.x);
        sum[1] += static_cast<double>(v.y);
        sum[2] += static_cast<double>(v.z);
        sum[3] += static_cast<double>(v.w);
      }
    __syncthreads();  // the sums of the group before have been read
#pragma unroll
    for (int k = 0; k < kQuad; ++k) sums[k][t] = sum[k];
    __syncthreads();
    if (active && lane == 0)
#pragma unroll
      for (int k = 0; k < kQuad; ++k) {
        for (int other = 1; other < lanes; ++other) sum[k] += sums[k][other * group + t];
        means[quad * kQuad + k] = static_cast<float>(sum[k] / static_cast<double>(a.pixels));
      }
  }
  __syncthreads();
  dense(a.squeeze, means, squeezed, Activate{a.squeezedSlope});
  __syncthreads();
  float* const out = factors + int64_t{blockIdx.x} * a.outChannels;
  dense(a.excite, squeezed, out, activation);
  for (int c = a.excite.outs + t; c < a.outChannels; c += kThreads) out[c] = 0.f;
}

size_t sharedFloats(const Attention& a) { return static_cast<size_t>(a.channels) + a.squeeze.outs; }

}  // namespace

bool hasAttention(const Attention& a) { return sharedFloats(a) <= kMostFloats && a.pixels > 0; }

int channelSumChunks(int64_t pixels) { return channels::sumChunks(pixels); }

template <typename T>
void channelSums(const T* x, float* sums, int batch, int64_t pixels, int channels, cudaStream_t stream) {
  channels::leaveSums<channels::ValueSum, T>({{x}}, sums, batch, pixels, channels, channels::ValueSum{}, stream);
}

template void channelSums<float>(const float*, float*, int, int64_t, int, cudaStream_t);
template void channelSums<bf16>(const bf16*, float*, int, int64_t, int, cudaStream_t);

size_t attentionScratch(const Attention& a, int chunks) {
  if (chunks <= channels::kPoolChunks) return 0;
  return sizeof(float) * static_cast<size_t>(a.batch) * channels::sumChunks(chunks) * a.channels;
}

void attentionFactors(const Attention& a, const float* sums, int chunks, float* factors, void* scratch,
                      cudaStream_t stream) {
  if (a.batch == 0) return;
  if (chunks > channels::kPoolChunks) {
    float* const fewer = static_cast<float*>(scratch);
    channelSums(sums, fewer, a.batch, chunks, a.channels, stream);
    sums = fewer;
    chunks = channels::sumChunks(chunks);
  }
  Attention with = a;
  with.squeezedSlope = slopeOf(a.squeezed, a.squeezedSlope);
  withEnd(a.excited, a.excitedSlope, [&](auto f) {
    launch(attentionKernel<decltype(f)>, dim3(static_cast<unsigned>(a.batch)), dim3(kThreads),
           sizeof(float) * sharedFloats(a), stream, sums, factors, with, chunks, f);
  });
}

}  // namespace wbsr::cuda

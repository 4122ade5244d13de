// The fused training loss: one launch reads prediction and target once and writes the gradient and the sums. A thread
// processes four pixels, so that pixels of three floats are read as whole 16-byte vectors too. Components are read from
// shared memory once for six values. Formulas are those of core/losses/ and core/math/bdloss.h, with the loops
// interchanged as in cpu/simd/loss_kernel.inc.
//
// Sums: over a thread's pixels in float, everything else in double. The order depends on the number of pixels alone, so
// that every run on every device gives the same bits.
#include "cuda/loss.h"

#include <algorithm>

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPixels = 4;        // per thread and round
constexpr int kBatch = 2;         // pixels whose balancing terms are evaluated together
constexpr int kMaxBlocks = 1024;  // more pixels: more rounds

struct Partial {
  double sums[kLossSums];
};

// What a thread adds to: data, squared, lse, dataGradient, balanceGradient, variance.
struct Totals {
  float data = 0, squared = 0, lse = 0, dataGradient = 0, balanceGradient = 0, variance = 0;
};

// Components in shared memory, 16-byte aligned each so that they are read by vectors.
template <int D>
struct alignas(16) Component {
  math::BdComponent<D, float> c;
};

// `pixels` of RGB at `stride` floats -> v (kPixels x 3); from: 16-byte aligned.
__device__ void loadPixels(const float* from, int stride, int pixels, float (&v)[kPixels * 3]) {
  if (pixels == kPixels && stride == 3) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const float4 four = reinterpret_cast<const float4*>(from)[i];
      v[4 * i] = four.x, v[4 * i + 1] = four.y, v[4 * i + 2] = four.z, v[4 * i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      v[3 * p] = v[3 * p + 1] = v[3 * p + 2] = 0.f;
      if (p >= pixels) continue;
      if (stride == 3) {
        v[3 * p] = from[3 * p], v[3 * p + 1] = from[3 * p + 1], v[3 * p + 2] = from[3 * p + 2];
      } else {
        const float4 four = *reinterpret_cast<const float4*>(from + p * stride);
        v[3 * p] = four.x, v[3 * p + 1] = four.y, v[3 * p + 2] = four.z;
      }
    }
  }
}

// The inverse; padding becomes 0.
__device__ void storePixels(float* to, int stride, int pixels, const float (&v)[kPixels * 3]) {
  if (pixels == kPixels && stride == 3) {
#pragma unroll
    for (int i = 0; i < 3; ++i)
      reinterpret_cast<float4*>(to)[i] = make_float4(v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]);
    return;
  }
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    if (p >= pixels) continue;
    if (stride == 3) {
      to[3 * p] = v[3 * p], to[3 * p + 1] = v[3 * p + 1], to[3 * p + 2] = v[3 * p + 2];
    } else {
      *reinterpret_cast<float4*>(to + p * stride) = make_float4(v[3 * p], v[3 * p + 1], v[3 * p + 2], 0.f);
      if (stride == 8) *reinterpret_cast<float4*>(to + p * stride + 4) = make_float4(0.f, 0.f, 0.f, 0.f);
    }
  }
}

// The balancing term of kBatch x 3 values (D = 1: each on its own; D = 3: kBatch RGB triples), of which the first `valid`
// values count: adds to gradient and totals.
template <int D>
__device__ void balance(const Component<D>* components, int count, bool clamped, float scale, const float* x, int valid,
                        float* gradient, Totals& totals) {
  constexpr int kValues = kBatch * 3, kPoints = kValues / D;
  float at[kValues], slope[kValues], largest[kPoints], sum[kPoints], variance[kPoints];
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    at[i] = clamped ? math::bdClamp(x[i]) : x[i];
    slope[i] = 0.f;
  }
#pragma unroll
  for (int n = 0; n < kPoints; ++n) {
    largest[n] = -3e38f;
    sum[n] = variance[n] = 0.f;
  }
  // First the largest logit. Logits are computed again below, which costs less than keeping 32 floats per value.
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const math::BdComponent<D, float> c = components[i].c;
#pragma unroll
    for (int n = 0; n < kPoints; ++n) {
      const float logit = math::bdLogit<D, float>(c, at + n * D);
      largest[n] = logit > largest[n] ? logit : largest[n];
    }
  }
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const math::BdComponent<D, float> c = components[i].c;
#pragma unroll
    for (int n = 0; n < kPoints; ++n) {
      const float share = math::fastExp(math::bdLogit<D, float>(c, at + n * D) - largest[n]);
      math::bdAccumulate<D, float>(c, at + n * D, share, slope + n * D, variance[n]);
      sum[n] += share;
    }
  }
#pragma unroll
  for (int n = 0; n < kPoints; ++n) {
    if (n * D >= valid) continue;
    const float inverse = 1.f / sum[n];
    totals.lse += largest[n] + math::fastLog(sum[n]);
    totals.variance += variance[n] * inverse;
#pragma unroll
    for (int d = 0; d < D; ++d) {
      const int i = n * D + d;
      const float value = slope[i] * inverse * (clamped ? math::bdInside(x[i]) : 1.f);
      gradient[i] += scale * value;
      totals.balanceGradient += value < 0 ? -value : value;
    }
  }
}

// residuals -> gradients in place, and values, of kPixels x 3 values.
template <typename Loss>
__device__ void dataTerm(float (&residuals)[kPixels * 3], float (&values)[kPixels * 3]) {
#pragma unroll
  for (int i = 0; i < kPixels * 3; ++i) {
    values[i] = Loss::value(residuals[i]);
    residuals[i] = Loss::gradient(residuals[i]);
  }
}

__device__ double warpSum(double value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Sums of all threads, in every thread. Between two uses there is a barrier.
__device__ void blockSum(double (&sums)[kLossSums]) {
  __shared__ double warps[kLossSums][kThreads / 32];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int s = 0; s < kLossSums; ++s) {
    const double value = warpSum(sums[s]);
    if (lane == 0) warps[s][warp] = value;
  }
  __syncthreads();
#pragma unroll
  for (int s = 0; s < kLossSums; ++s) {
    sums[s] = 0;
    for (int w = 0; w < kThreads / 32; ++w) sums[s] += warps[s][w];
  }
}

template <int D>
__device__ void stageComponents(const math::BdComponent<D, float>* from, int count, Component<D>* to) {
  constexpr int kWords = sizeof(math::BdComponent<D, float>) / sizeof(float);
  for (int i = static_cast<int>(threadIdx.x); i < count * kWords; i += kThreads)
    reinterpret_cast<float*>(to + i / kWords)[i % kWords] = reinterpret_cast<const float*>(from)[i];
}

// prediction, target, gradient (count, 3) at their strides; gradient may be null. sums (kLossSums). partial (blocks).
// finished: 0, and 0 again when the launch is over.
__global__ void __launch_bounds__(kThreads)
    lossKernel(const LossParameters* parameters, const float* prediction, int predictionStride, const float* target,
               int targetStride, float* gradient, int gradientStride, int64_t count, double* sums, Partial* partial,
               unsigned* finished) {
  __shared__ Component<1> one[math::maxComponents];
  __shared__ Component<3> three[math::maxComponents];
  __shared__ bool last;
  const bool rgb = parameters->dimension == 3, clamped = parameters->clamped;
  const ElementLoss element = parameters->element;
  const int components = parameters->balanced ? parameters->components : 0;
  const float gradientScale = parameters->gradientScale, balanceScale = parameters->balanceScale;
  if (rgb)
    stageComponents<3>(parameters->mixture.three, components, three);
  else
    stageComponents<1>(parameters->mixture.one, components, one);
  __syncthreads();

  double mine[kLossSums] = {};
  const int64_t stride = int64_t{gridDim.x} * kThreads * kPixels;
  for (int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kPixels; first < count; first += stride) {
    const int pixels = count - first < kPixels ? static_cast<int>(count - first) : kPixels;
    float x[kPixels * 3], g[kPixels * 3];
    loadPixels(prediction + first * predictionStride, predictionStride, pixels, x);
    loadPixels(target + first * targetStride, targetStride, pixels, g);
    Totals totals;
    float values[kPixels * 3];
#pragma unroll
    for (int i = 0; i < kPixels * 3; ++i) {
      g[i] = x[i] - g[i];  // pixels past the end are 0 in both
      totals.squared += g[i] * g[i];
    }
    switch (element) {
#define WBSR_ROW(functor) \
  case ElementLoss::functor: dataTerm<losses::functor>(g, values); break;
      WBSR_ELEMENT_LOSSES(WBSR_ROW)
#undef WBSR_ROW
    }
#pragma unroll
    for (int i = 0; i < kPixels * 3; ++i) {
      if (i >= pixels * 3) values[i] = g[i] = 0.f;  // the loss of a residual of 0 need not be 0
      totals.data += values[i];
      totals.dataGradient += g[i] < 0 ? -g[i] : g[i];
    }
    if (components > 0) {
#pragma unroll
      for (int p = 0; p < kPixels; p += kBatch) {
        if (rgb)
          balance<3>(three, components, clamped, balanceScale, x + 3 * p, (pixels - p) * 3, g + 3 * p, totals);
        else
          balance<1>(one, components, clamped, balanceScale, x + 3 * p, (pixels - p) * 3, g + 3 * p, totals);
      }
    }
    if (gradient) {
#pragma unroll
      for (int i = 0; i < kPixels * 3; ++i) g[i] *= gradientScale;
      storePixels(gradient + first * gradientStride, gradientStride, pixels, g);
    }
    mine[0] += totals.data;
    mine[1] += totals.squared;
    mine[2] += totals.lse;
    mine[3] += totals.dataGradient;
    mine[4] += totals.balanceGradient;
    mine[5] += totals.variance;
  }

  blockSum(mine);
  if (threadIdx.x == 0) {
#pragma unroll
    for (int s = 0; s < kLossSums; ++s) partial[blockIdx.x].sums[s] = mine[s];
    __threadfence();                                             // sums are visible before the count changes
    last = atomicInc(finished, gridDim.x - 1) == gridDim.x - 1;  // wraps to 0: ready for the next launch
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
#pragma unroll
  for (int s = 0; s < kLossSums; ++s) mine[s] = 0;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += kThreads)
#pragma unroll
    for (int s = 0; s < kLossSums; ++s) mine[s] += partial[b].sums[s];
  blockSum(mine);
  if (threadIdx.x == 0)
#pragma unroll
    for (int s = 0; s < kLossSums; ++s) sums[s] = mine[s];
}

// ---------------------------------------------------------------------------------------------------------------------

// At least one: with no pixels the sums are 0.
int64_t blocksFor(int64_t count) { return std::clamp<int64_t>(divideUp(count, kThreads * kPixels), 1, kMaxBlocks); }

constexpr size_t kCounterBytes = 16;

}  // namespace

size_t lossScratch(int64_t count) { return kCounterBytes + static_cast<size_t>(blocksFor(count)) * sizeof(Partial); }

void loss(const LossParameters* parameters, const float* prediction, int predictionStride, const float* target,
          int targetStride, float* gradient, int gradientStride, int64_t count, double* sums, void* scratch,
          cudaStream_t stream) {
  unsigned char* const bytes = static_cast<unsigned char*>(scratch);
  launch(lossKernel, dim3(static_cast<unsigned>(blocksFor(count))), dim3(kThreads), 0, stream, parameters, prediction,
         predictionStride, target, targetStride, gradient, gradientStride, count, sums,
         reinterpret_cast<Partial*>(bytes + kCounterBytes), reinterpret_cast<unsigned*>(bytes));
}

}  // namespace wbsr::cuda

// The elementwise product, whose second factor may have one channel that multiplies all, and its backward.
#include "core/operators/multiply.h"

#include "cuda/kernels/elementwise.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Multiply;

constexpr int kThreads = 256;

struct Product {
  __device__ float operator()(float a, float b) const { return a * b; }
};

// out = x gate. x, out (pixels, vectors x 8), gate (pixels, 8) of which the first channel counts. count: vectors.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gateKernel(const T* x, const float* gate, T* out, int64_t count, int vectors) {
  const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (at >= count) return;
  const float factor = gate[at / vectors * kVector];
  float v[kVector];
  load(x + at * kVector, v);
#pragma unroll
  for (int k = 0; k < kVector; ++k) v[k] *= factor;
  store(out + at * kVector, v);
}

// dGate (pixels, 8) = the sum over the `real` channels of dOut x, in its first channel, others 0. dOut, x (pixels, vectors
// x 8). `lanes` threads (a power of two up to a warp) share a pixel.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gateBackwardKernel(const T* dOut, const T* x, float* dGate, int64_t pixels, int vectors, int real, int lanes) {
  const int t = static_cast<int>(threadIdx.x), lane = t % lanes;
  const int64_t pixel = int64_t{blockIdx.x} * (kThreads / lanes) + t / lanes;
  float sum = 0.f;
  if (pixel < pixels)
    for (int vector = lane; vector < vectors; vector += lanes) {
      const int64_t at = (pixel * vectors + vector) * kVector;
      float a[kVector], b[kVector];
      load(dOut + at, a);
      load(x + at, b);
#pragma unroll
      for (int k = 0; k < kVector; ++k)
        if (vector * kVector + k < real) sum = fmaf(a[k], b[k], sum);
    }
  for (int step = lanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (pixel >= pixels || lane != 0) return;
  const float v[kVector] = {sum, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
  store(dGate + pixel * kVector, v);
}

// ---------------------------------------------------------------------------------------------------------------------

// Whether value b is one channel that multiplies the channels of a, of which there may be one as well in a narrow subnet.
bool isGate(const Values& values, int a, int b) {
  const Layout x = values.layout(a), gate = values.layout(b);
  return gate.channels == 1 && (x.channels != 1 || x.kind != gate.kind);
}

// out = in0 in1, elementwise or in1 a gate.
void compileProduct(StepCompiler& compiler, const Step& step) {
  const bool gate = isGate(compiler.values(), step.in[0], step.in[1]);
  compiler.launchAs(step.out, step.out, [=, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    const T* x = v.at<T>(step.in[0]);
    T* out = v.at<T>(step.out);
    if (!gate) return elementwise::binary(x, v.at<T>(step.in[1]), out, v.elements(step.out), Product{}, stream);
    const int64_t count = v.elements(step.out) / kVector;
    launch(gateKernel<T>, dim3(static_cast<unsigned>(divideUp(count, kThreads))), dim3(kThreads), 0, stream, x,
           v.at<float>(step.in[1]), out, count, v.layout(step.out).paddedChannels / kVector);
  });
}

// in: dOut, the first factor; out: the second one's gradient.
void compileBackwardSecond(StepCompiler& compiler, const Step& step) {
  if (!isGate(compiler.values(), step.in[1], step.out)) return compileProduct(compiler, step);
  const Layout l = compiler.values().layout(step.in[1]);
  compiler.launchAs(step.in[1], step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      const int vectors = l.paddedChannels / kVector;
                      int lanes = 1;
                      while (lanes < 32 && lanes < vectors) lanes *= 2;
                      const int64_t pixels = l.pixels() * batch;
                      launch(gateBackwardKernel<T>, dim3(static_cast<unsigned>(divideUp(pixels, kThreads / lanes))),
                             dim3(kThreads), 0, stream, v.at<T>(step.in[0]), v.at<T>(step.in[1]), v.at<float>(step.out),
                             pixels, vectors, l.channels, lanes);
                    });
}

}  // namespace

void register_multiply(Registry& registry) {
  registry.add(Multiply::kKind, compileProduct);
  registry.add(Multiply::kBackwardFirst, compileProduct);  // dOut times the second factor
  registry.add(Multiply::kBackwardSecond, compileBackwardSecond);
}

}  // namespace wbsr::cuda

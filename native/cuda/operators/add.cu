// Sums of two values.
#include "core/operators/add.h"

#include "cuda/kernels/elementwise.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

}  // namespace

template <typename T>
void add(const T* a, const T* b, T* out, int64_t count, cudaStream_t stream) {
  elementwise::binary(a, b, out, count, Sum{}, stream);
}

template void add<float>(const float*, const float*, float*, int64_t, cudaStream_t);
template void add<bf16>(const bf16*, const bf16*, bf16*, int64_t, cudaStream_t);

namespace {

using operators::Add;

void compileAdd(StepCompiler& compiler, const Step& step) {
  compiler.launchAs(step.out, step.out, [step, &v = compiler.values(), stream = compiler.stream()](auto type) {
    using T = decltype(type);
    add(v.at<T>(step.in[0]), v.at<T>(step.in[1]), v.at<T>(step.out), v.elements(step.out), stream);
  });
}

}  // namespace

void register_add(Registry& registry) { registry.add(Add::kKind, compileAdd); }

}  // namespace wbsr::cuda

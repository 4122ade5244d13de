// Separable linear maps between grids of pixels: resizing by any ratio, average pooling, and their transposes, which
// are the gradients. A table per axis, made on the host, holds the samples and weights of each output.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace wbsr::cuda {

// Of each output the inputs with their weights, ascending.
using AxisTaps = std::vector<std::vector<std::pair<int, float>>>;

// The transpose: the taps of each of `inputs` inputs in the outputs.
AxisTaps transposed(const AxisTaps& taps, int inputs);

// The same on the device: output o has the taps first[o] .. first[o + 1] - 1.
struct Axis {
  int inputs, outputs;
  const int *first, *index;
  const float* weight;
};

// StepCompiler::constants makes it.
template <typename Compiler>
Axis makeAxis(Compiler& compiler, const AxisTaps& taps, int inputs) {
  std::vector<int> first{0}, index;
  std::vector<float> weight;
  for (const auto& output : taps) {
    for (const auto& [at, factor] : output) {
      index.push_back(at);
      weight.push_back(factor);
    }
    first.push_back(static_cast<int>(index.size()));
  }
  return {inputs, static_cast<int>(taps.size()), compiler.constants(first), compiler.constants(index),
          compiler.constants(weight)};
}

// out (N, rows.outputs, columns.outputs, channels) from in (N, rows.inputs, columns.inputs, channels) (+ addend, which may
// be null). channels: padded.
template <typename In, typename Out>
void resample(const In* in, const Out* addend, Out* out, int batch, int channels, const Axis& rows, const Axis& columns,
              cudaStream_t stream);

}  // namespace wbsr::cuda

// A convolution and its fused end as an operation graph of cuDNN. Dimensions are in cuDNN's order (N, C, H, W) and
// (K, C, R, S); strides make it channels last. Tensors between the operations are virtual and float.
#pragma once
#include <string>
#include <vector>

#include "cuda/conv/spec.h"
#include "cuda/conv/cudnn_descriptor.h"

namespace wbsr::cuda {

// The names of a graph's tensors in variant packs.
enum ConvTensor : int64_t { kTensorX = 1, kTensorW, kTensorY, kTensorBias, kTensorResidual, kTensorGate };

struct ConvGraph {
  std::vector<cudnn::Descriptor> parts;  // what the graph refers to
  cudnn::Descriptor graph;
  std::vector<int64_t> tensors;  // those that need a pointer
};

// One way to compute a spec. Not fused: the graph is the convolution alone, our kernels do the rest. written: the type
// that the graph writes; if it is not the result's, the graph writes to the workspace and a kernel converts, except dw,
// which keeps its type (ConvPlan::written). rows, for ConvSpec::factor > 1: the graph computes the sub-pixels of one row
// of every enlarged pixel, whose channels follow each other in y, so that y's rows alone are further apart; it runs once
// for each such row. Else the graph writes all planes to the workspace, and pixelShuffle() moves them.
struct ConvVariant {
  bool fused = false;
  Type written = Type::Float;
  bool rows = false;
  std::string text() const;  // names it in kept plans: "fused, by rows, bf16"
};

// Best first: everything in one graph, by rows before all planes; a plain convolution; one that writes its operands' type, as bf16 convolutions do
// on sm_80, where cuDNN has none for dw or dx in float. dw of bf16 operands is written as bf16 first of all: those
// engines split the sum over pixels among the whole card, while the one that writes float on sm_90 has five blocks of
// threads for 64 -> 64 channels (cuda_engines_check.cc, cuDNN 9.24).
std::vector<ConvVariant> variantsOf(const ConvSpec& spec);

// handle: null where the device is only described (engines.h). Throws cudnn::Failure.
ConvGraph buildConvGraph(const ConvSpec& spec, const ConvVariant& variant, cudnn::Handle handle);

}  // namespace wbsr::cuda

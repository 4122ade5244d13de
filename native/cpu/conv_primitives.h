// Convolutions by oneDNN, for cpu/operators/conv.cc: what our own Winograd kernel (cpu/winograd.h) does not serve.
//
// prop_kind is forward_training in inference too: oneDNN then always takes Winograd F(4x4, 3x3) where it can, whose
// result for one image does not depend on the batch it is in (forward_inference switches algorithm with the batch),
// and whose weights have one plain blocked layout for all shapes. On large regions it is within 5 % of the inference
// variant; on a single tile that one is 10 to 20 % faster, as its weights are transformed beforehand. Asking for it (F(4x4)
// by next_impl of forward_inference) causes a segmentation fault inside dnnl_primitive_create of oneDNN 2.6.3.
#pragma once
#include "core/node.h"
#include "cpu/onednn.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

// A convolution between blocked values, or from a thin one to a blocked one. Depthwise: in = out.
struct PrimitiveShape {
  int batch, in, out;  // channels; of a blocked value with its padding
  int inH, inW, outH, outW;
  int kernel, stride, padding;
  bool depthwise;
  int lanes;
  bool thinInput;
};

// One oneDNN convolution with its post-operations.
struct ForwardPrimitive {
  dnnl::convolution_forward primitive;
  dnnl::memory::desc source, weights, bias, destination, scratchpad;
  bool activated = false;  // relu or leaky relu done inside
  bool summed = false;     // adds to what the destination holds
};
ForwardPrimitive makeForward(const dnnl::engine& engine, const PrimitiveShape& shape, ActivationKind activation,
                             float slope, bool sum);

struct BackwardDataPrimitive {
  dnnl::convolution_backward_data primitive;
  dnnl::memory::desc gradOut, weights, gradIn, scratchpad;
};
BackwardDataPrimitive makeBackwardData(const dnnl::engine& engine, const PrimitiveShape& shape);

struct BackwardWeightsPrimitive {
  dnnl::convolution_backward_weights primitive;
  dnnl::memory::desc source, gradOut, gradWeights, gradBias, scratchpad;
};
BackwardWeightsPrimitive makeBackwardWeights(const dnnl::engine& engine, const PrimitiveShape& shape);

// Lanes of the blocked layout that oneDNN chooses on this processor.
int lanesOfBlocks();

}  // namespace wbsr::cpu

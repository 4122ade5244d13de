// Convolutions on the CPU device: oneDNN where both sides are blocked or the input is thin, our own kernels at the
// thin end, plain loops for pooled and thin-to-thin values.
//
// prop_kind is forward_training in inference too: oneDNN then always takes Winograd F(4x4, 3x3) where it can, whose
// result for one image does not depend on the batch it is in (forward_inference switches algorithm with the batch),
// and whose weights have one plain blocked layout for all shapes. On large regions it is within 5 % of the inference
// variant; on a single tile that one is 10 to 20 % faster, as its weights are transformed beforehand. Asking for it (F(4x4)
// by next_impl of forward_inference) ends in a segmentation fault inside dnnl_primitive_create of oneDNN 2.6.3.
#pragma once
#include <memory>
#include <vector>

#include "core/graph.h"
#include "cpu/onednn.h"
#include "cpu/tensor.h"

namespace wbsr::cpu {

struct ConvShape {
  int batch, h, w, kernel;
  int in, out;    // logical channels
  int outGroups;  // > 1: filters ordered sub-pixel first
  Layout from, to;
};

// How a slice of the master weights is laid out for one use.
enum class Packing { OneDnn, Thin, Plain };
// Flipped: in and out exchanged and the kernel rotated, for the data gradient at thin ends.

struct PackedKey {
  int node, in, out;
  Packing packing;
  bool flipped;
  int groups;  // ConvShape::outGroups: depends on what else reads the convolution, so it may differ between depths
  bool operator==(const PackedKey&) const = default;
};

struct Packed {
  PackedKey key;
  dnnl::memory::desc desc;    // OneDnn
  std::vector<float> values;  // Thin, Plain
  dnnl::memory memory;        // OneDnn
  std::vector<float> bias;    // padded and ordered as the outputs are; zeros without
  int64_t version = -1;       // of the master weights it was made from
};

// Packed weights of all subnets, made on demand and refreshed when the master weights have changed.
class WeightStore {
 public:
  WeightStore(const Graph& graph, int lanes, const dnnl::engine& engine)
      : graph_(graph), lanes_(lanes), engine_(engine) {}
  void setMaster(const float* master) { master_ = master; }
  void changed() { ++version_; }
  // `desc` matters for OneDnn only: (paddedOut, paddedIn, k, k) in any layout.
  Packed& get(const PackedKey& key, const dnnl::memory::desc& desc, dnnl::stream& stream);
  int64_t bytes() const;

 private:
  void refresh(Packed& packed, dnnl::stream& stream);
  const Graph& graph_;
  int lanes_;
  dnnl::engine engine_;
  const float* master_ = nullptr;
  int64_t version_ = 0;
  std::vector<std::unique_ptr<Packed>> entries_;
};

// Row of the master weight that stands at padded output row `row`; -1: padding.
int sourceRow(int row, int out, int groups, int lanes);

// One oneDNN convolution with its post-operations.
struct ForwardPrimitive {
  dnnl::convolution_forward primitive;
  dnnl::memory::desc source, weights, bias, destination, scratchpad;
  bool activated = false;  // relu or leaky relu done inside
  bool summed = false;     // adds to what the destination holds
};
ForwardPrimitive makeForward(const dnnl::engine& engine, int batch, int in, int out, int h, int w, int kernel,
                             int lanes, bool thinInput, ActivationKind activation, float slope, bool sum);

struct BackwardDataPrimitive {
  dnnl::convolution_backward_data primitive;
  dnnl::memory::desc gradOut, weights, gradIn, scratchpad;
};
BackwardDataPrimitive makeBackwardData(const dnnl::engine& engine, int batch, int in, int out, int h, int w, int kernel,
                                       int lanes);

struct BackwardWeightsPrimitive {
  dnnl::convolution_backward_weights primitive;
  dnnl::memory::desc source, gradOut, gradWeights, gradBias, scratchpad;
};
BackwardWeightsPrimitive makeBackwardWeights(const dnnl::engine& engine, int batch, int in, int out, int h, int w,
                                             int kernel, int lanes, bool thinInput);

// Lanes of the blocked layout that oneDNN chooses on this processor.
int preferredLanes(const dnnl::engine& engine);

}  // namespace wbsr::cpu

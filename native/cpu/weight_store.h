// Packed weights: slices of the master weights as the convolutions read them.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/graph.h"
#include "core/program.h"
#include "cpu/int8.h"
#include "cpu/onednn.h"

namespace wbsr::cpu {

// How a slice of the master weights is laid out for one use.
enum class Packing { OneDnn, Thin, Plain, Winograd, Pointwise, Int8 };
// Flipped: in and out exchanged and the kernel rotated, for the data gradient at thin ends and by Winograd.

struct PackedKey {
  ParameterSlice weight;  // (out, in, k, k)
  int bias;               // parameter of the same output channels, -1: none
  Packing packing;
  bool flipped;
  int blocks;  // groups of the convolution: the other blocks of the dense weight are zero
  int groups;  // > 1: filters ordered sub-pixel first; depends on what else reads the convolution, so it may differ between depths
  bool operator==(const PackedKey&) const = default;
};

struct Packed {
  PackedKey key;
  dnnl::memory::desc desc;    // OneDnn
  std::vector<float> values;  // all but OneDnn and Int8
  Int8Weights int8;           // Int8
  dnnl::memory memory;        // OneDnn
  std::vector<float> bias;    // padded and ordered as the outputs are; zeros without
  int64_t version = -1;       // of the master weights at packing
};

// Packed weights of all subnets, made on demand and refreshed when the master weights have changed. get(), current() and
// vector() may be called from several threads; setMaster() and changed() only while none of them runs.
class WeightStore {
 public:
  explicit WeightStore(const Graph& graph);
  void setMaster(const float* master) { master_ = master; }
  void changed() { ++version_; }
  // desc, for OneDnn only: (paddedOut, paddedIn, k, k), depthwise (padded, 1, 1, k, k), any layout. Never moves.
  Packed& get(const PackedKey& key, const dnnl::memory::desc& desc, dnnl::stream& stream);
  // A result of get(), refreshed if the weights have changed since.
  Packed& current(Packed& packed, dnnl::stream& stream);
  int64_t bytes() const;

  // The values of a parameter with one dimension, in the slice's order, zeros up to `padded`.
  std::vector<float> vector(const ParameterSlice& slice, int padded) const;
  const Parameter& parameter(const ParameterSlice& slice) const {
    return graph_.parameters()[static_cast<size_t>(slice.parameter)];
  }

 private:
  Packed& refreshed(Packed& packed, dnnl::stream& stream);
  void refresh(Packed& packed, dnnl::stream& stream);
  const Graph& graph_;
  int lanes_;
  dnnl::engine engine_ = cpuEngine();
  std::mutex lock_;
  const float* master_ = nullptr;
  int64_t version_ = 0;
  std::vector<std::unique_ptr<Packed>> entries_;
};

int countOf(const Ranges& ranges);

// Channel that stands at padded position `row` when `out` channels are ordered sub-pixel first; -1: padding.
int sourceRow(int row, int out, int groups, int lanes);

}  // namespace wbsr::cpu

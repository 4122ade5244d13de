// The parameters on the device: float32 masters and training arenas, and beside them the packed slices that cuDNN
// reads, one per (convolution, slice), refreshed by one kernel after each optimizer step.
#pragma once
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "core/device.h"
#include "core/graph.h"
#include "cuda/conv/conv.h"
#include "cuda/optimizer.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

class Weights {
 public:
  Weights(const wbsr::Graph& graph, Precision precision, cudaStream_t stream);

  // Makes the pack where there is none yet (its contents follow with refresh()). groups: sub-pixel planes, or 1.
  const Pack& weightPack(int node, int outChannels, int inChannels, int groups);
  const float* biasPack(int node, int outChannels, int groups);
  // Brings packs up to date with the masters. Asynchronous.
  void refresh();

  void set(Arena which, const float* values);
  void get(Arena which, float* values);
  void initialise(const float* values);
  // The arenas that training keeps beside the weights.
  void prepareTraining();

  // Asynchronous: updates masters and packs. touched: per parameter the largest width that the step ran, -1: none.
  void update(const math::AdamStep* steps, const int32_t* touched, bool ema, const int32_t* stop);

  float* weights() const { return weights_.as<float>(); }
  float* gradient() const { return gradient_.as<float>(); }
  int64_t count() const { return count_; }
  int64_t bytes() const;

 private:
  using Key = std::tuple<int, bool, int, int, int>;  // node, bias, outChannels, inChannels, groups
  struct Slice {
    DeviceBuffer memory;
    Pack pack;
  };
  Slice& slice(const Key& key, int parameter);
  OptimizerArguments arguments() const;
  void uploadTables();
  DeviceBuffer& arena(Arena which);

  const wbsr::Graph& graph_;
  const Precision precision_;
  const cudaStream_t stream_;
  const int64_t count_;
  DeviceBuffer weights_, ema_, m_, v_, gradient_;
  std::map<Key, std::unique_ptr<Slice>> slices_;
  std::vector<std::vector<const Slice*>> byParameter_;
  DeviceBuffer entries_, chunks_, packs_;
  int chunkCount_ = 0;
  bool tablesStale_ = true, packsStale_ = true;
};

}  // namespace wbsr::cuda

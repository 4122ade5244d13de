// The parameters on the device: float32 masters and training arenas, and beside them the packed slices that cuDNN and
// our kernels read, one per slice and order of its rows, refreshed by one kernel after each optimizer step.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "core/device.h"
#include "core/graph.h"
#include "core/program.h"
#include "cuda/conv/conv.h"
#include "cuda/optimizer.h"
#include "cuda/runtime.h"

namespace wbsr::cuda {

class Weights {
 public:
  Weights(const wbsr::Graph& graph, Precision precision, cudaStream_t stream);

  // Makes the pack where there is none yet (its contents follow with refresh()). groups: sub-pixel planes of the rows,
  // or 1. weightPack: (rows padded, area, columns padded) of the precision's type. convGroups: Pack::convGroups.
  const Pack& weightPack(const ParameterSlice& slice, int groups, int convGroups = 1);
  // columnPack: a parameter of one column, (area, rows padded) of float.
  const Pack& columnPack(const ParameterSlice& slice, int groups = 1);
  // Which of a dimension's indices the ranges hold, in order, on the device; null: the first ones.
  const int* indices(const Ranges& ranges);
  // Brings packs up to date with the masters. Asynchronous.
  void refresh();

  void set(Arena which, const float* values);
  void get(Arena which, float* values);
  void initialise(const float* values);
  // The arenas that training keeps beside the weights.
  void prepareTraining();

  // Asynchronous: updates masters and packs. touched: per parameter the largest width that the step ran, -1: none.
  void update(const math::AdamStep* steps, const int32_t* touched, bool ema, const int32_t* stop);

  const Parameter& parameter(const ParameterSlice& slice) const {
    return graph_.parameters()[static_cast<size_t>(slice.parameter)];
  }
  float* weights() const { return weights_.as<float>(); }
  float* gradient() const { return gradient_.as<float>(); }
  // Of the parameter's first element.
  float* weights(const ParameterSlice& slice) const { return weights() + parameter(slice).offset; }
  float* gradient(const ParameterSlice& slice) const { return gradient() + parameter(slice).offset; }
  int64_t count() const { return count_; }
  int64_t bytes() const;

 private:
  struct Packed {
    DeviceBuffer memory;
    Pack pack;
  };
  const Pack& pack(const ParameterSlice& slice, int groups, int convGroups, bool half, bool oneColumn);
  const int* table(const std::vector<int>& numbers);
  OptimizerArguments arguments() const;
  void uploadTables();
  DeviceBuffer& arena(Arena which);

  const wbsr::Graph& graph_;
  const Precision precision_;
  const cudaStream_t stream_;
  const int64_t count_;
  DeviceBuffer weights_, ema_, m_, v_, gradient_;
  std::map<std::vector<int>, std::unique_ptr<Packed>> packs_;  // by slice and order
  std::vector<std::vector<const Packed*>> byParameter_;
  std::map<std::vector<int>, std::unique_ptr<DeviceBuffer>> tables_;  // by their contents
  DeviceBuffer entries_, shells_, chunks_, packList_;
  int chunkCount_ = 0;
  bool tablesStale_ = true, packsStale_ = true;
};

}  // namespace wbsr::cuda

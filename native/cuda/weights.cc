#include "cuda/weights.h"

#include <algorithm>

#include "cuda/program/layout.h"

namespace wbsr::cuda {

Weights::Weights(const wbsr::Graph& graph, Precision precision, cudaStream_t stream)
    : graph_(graph),
      precision_(precision),
      stream_(stream),
      count_(graph.parameterCount()),
      byParameter_(graph.parameters().size()) {
  const size_t bytes = sizeof(float) * static_cast<size_t>(std::max<int64_t>(count_, 1));
  weights_.reserve(bytes);
  WBSR_CUDA(cudaMemsetAsync(weights_.as(), 0, bytes, stream_));
}

Weights::Slice& Weights::slice(const Key& key, int parameter) {
  auto& found = slices_[key];
  if (found) return *found;
  const auto [node, isBias, outChannels, inChannels, groups] = key;
  auto made = std::make_unique<Slice>();
  Pack& pack = made->pack;
  pack.outChannels = outChannels;
  pack.inChannels = inChannels;
  pack.outPadded = groups * padded(outChannels / groups);
  pack.inPadded = isBias ? 1 : padded(inChannels);
  pack.groups = groups;
  pack.bf16 = !isBias && precision_ == Precision::Bf16;
  const int area = isBias ? 1
                          : graph_.parameters()[static_cast<size_t>(parameter)].shape[2] *
                                graph_.parameters()[static_cast<size_t>(parameter)].shape[3];
  const size_t bytes = size_t{pack.bf16 ? 2u : 4u} * pack.outPadded * area * pack.inPadded;
  try {
    made->memory.reserve(bytes);
    WBSR_CUDA(cudaMemsetAsync(made->memory.as(), 0, bytes, stream_));  // padding stays zero
  } catch (...) {
    slices_.erase(key);
    throw;
  }
  pack.data = made->memory.as();
  byParameter_[static_cast<size_t>(parameter)].push_back(made.get());
  tablesStale_ = packsStale_ = true;
  found = std::move(made);
  return *found;
}

const Pack& Weights::weightPack(int node, int outChannels, int inChannels, int groups) {
  return slice({node, false, outChannels, inChannels, groups}, graph_.firstParameter(node)).pack;
}

const float* Weights::biasPack(int node, int outChannels, int groups) {
  if (graph_.parametersOf(node) < 2) return nullptr;
  return static_cast<const float*>(
      slice({node, true, outChannels, 1, groups}, graph_.firstParameter(node) + 1).pack.data);
}

void Weights::uploadTables() {
  std::vector<ParameterEntry> entries = parameterEntries(graph_);
  std::vector<Pack> packs;
  for (size_t p = 0; p < entries.size(); ++p) {
    entries[p].firstPack = static_cast<int>(packs.size());
    entries[p].packs = static_cast<int>(byParameter_[p].size());
    for (const Slice* s : byParameter_[p]) packs.push_back(s->pack);
  }
  const std::vector<OptimizerChunk> chunks = optimizerChunks(entries);
  chunkCount_ = static_cast<int>(chunks.size());
  const size_t chunkBytes = chunks.size() * sizeof(OptimizerChunk);
  const size_t entryBytes = entries.size() * sizeof(ParameterEntry), packBytes = packs.size() * sizeof(Pack);
  entries_.reserve(std::max<size_t>(entryBytes, 1));
  chunks_.reserve(std::max<size_t>(chunkBytes, 1));
  packs_.reserve(std::max<size_t>(packBytes, 1));
  copyNow(entries_.as(), entries.data(), entryBytes, cudaMemcpyHostToDevice, stream_);
  copyNow(chunks_.as(), chunks.data(), chunkBytes, cudaMemcpyHostToDevice, stream_);
  copyNow(packs_.as(), packs.data(), packBytes, cudaMemcpyHostToDevice, stream_);
  tablesStale_ = false;
}

OptimizerArguments Weights::arguments() const {
  OptimizerArguments a{};
  a.parameters = entries_.as<ParameterEntry>();
  a.chunks = chunks_.as<OptimizerChunk>();
  a.chunkCount = chunkCount_;
  a.packs = packs_.as<Pack>();
  a.widths = static_cast<int>(graph_.widths().size());
  a.weights = weights_.as<float>();
  a.m = m_.as<float>();
  a.v = v_.as<float>();
  a.ema = ema_.as<float>();
  a.gradient = gradient_.as<float>();
  return a;
}

void Weights::refresh() {
  if (tablesStale_) uploadTables();
  if (!packsStale_) return;
  packWeights(arguments(), stream_);
  packsStale_ = false;
}

void Weights::update(const math::AdamStep* steps, const int32_t* touched, bool ema, const int32_t* stop) {
  if (tablesStale_) uploadTables();
  OptimizerArguments a = arguments();
  a.steps = steps;
  a.touched = touched;
  a.stop = stop;
  if (!ema) a.ema = nullptr;
  adamStepAndPack(a, stream_);
}

DeviceBuffer& Weights::arena(Arena which) {
  switch (which) {
    case Arena::Ema: return ema_;
    case Arena::M: return m_;
    case Arena::V: return v_;
    case Arena::Gradient: return gradient_;
    default: return weights_;
  }
}

void Weights::set(Arena which, const float* values) {
  DeviceBuffer& a = arena(which);
  a.reserve(weights_.bytes());
  copyNow(a.as(), values, sizeof(float) * static_cast<size_t>(count_), cudaMemcpyHostToDevice, stream_);
  if (which == Arena::Weights) packsStale_ = true;
}

void Weights::get(Arena which, float* values) {
  const DeviceBuffer& a = arena(which);
  // Before the first step the average is the weights themselves, moments and gradients are zero.
  const void* from = a.as() ? a.as() : which == Arena::Ema ? weights_.as() : nullptr;
  if (from)
    copyNow(values, from, sizeof(float) * static_cast<size_t>(count_), cudaMemcpyDeviceToHost, stream_);
  else
    std::fill(values, values + count_, 0.f);
}

void Weights::initialise(const float* values) {
  set(Arena::Weights, values);
  // Memory stays where it is: captured graphs hold its addresses.
  if (ema_.as()) set(Arena::Ema, values);
  for (DeviceBuffer* a : {&m_, &v_, &gradient_})
    if (a->as()) WBSR_CUDA(cudaMemsetAsync(a->as(), 0, a->bytes(), stream_));
}

void Weights::prepareTraining() {
  const size_t bytes = weights_.bytes();
  for (DeviceBuffer* a : {&m_, &v_, &gradient_})
    if (a->reserve(bytes)) WBSR_CUDA(cudaMemsetAsync(a->as(), 0, bytes, stream_));
  if (ema_.reserve(bytes))
    WBSR_CUDA(cudaMemcpyAsync(ema_.as(), weights_.as(), bytes, cudaMemcpyDeviceToDevice, stream_));
}

int64_t Weights::bytes() const {
  size_t sum = weights_.bytes() + ema_.bytes() + m_.bytes() + v_.bytes() + gradient_.bytes() + entries_.bytes() +
               chunks_.bytes() + packs_.bytes();
  for (const auto& [key, s] : slices_) sum += s->memory.bytes();
  return static_cast<int64_t>(sum);
}

}  // namespace wbsr::cuda

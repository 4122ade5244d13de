#include "cuda/weights.h"

#include <algorithm>

#include "cuda/program/layout.h"

namespace wbsr::cuda {
namespace {

int countOf(const Ranges& ranges) {
  int count = 0;
  for (const Range& range : ranges) count += range.count;
  return count;
}

bool isFirst(const Ranges& ranges) { return ranges.size() == 1 && ranges[0].from == 0; }

// For each of `full` indices its position among those of the ranges, or -1.
std::vector<int> inverseOf(const Ranges& ranges, int full) {
  std::vector<int> inverse(static_cast<size_t>(full), -1);
  int place = 0;
  for (const int index : indicesOf(ranges)) inverse[static_cast<size_t>(index)] = place++;
  return inverse;
}

}  // namespace

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

const int* Weights::table(const std::vector<int>& numbers) {
  auto& found = tables_[numbers];
  if (!found) {
    auto made = std::make_unique<DeviceBuffer>();
    const size_t bytes = numbers.size() * sizeof(int);
    made->reserve(bytes);
    copyNow(made->as(), numbers.data(), bytes, cudaMemcpyHostToDevice, stream_);
    found = std::move(made);
  }
  return found->as<int>();
}

const int* Weights::indices(const Ranges& ranges) { return isFirst(ranges) ? nullptr : table(indicesOf(ranges)); }

const Pack& Weights::pack(const ParameterSlice& slice, int groups, int convGroups, bool half, bool oneColumn) {
  const std::vector<int>& shape = parameter(slice).shape;
  const Ranges rows = slice.ranges[0], columns = shape.size() > 1 ? slice.ranges[1] : Ranges{{0, 1}};
  std::vector<int> key{slice.parameter, groups, convGroups, half, oneColumn};
  for (const Ranges* ranges : {&rows, &columns}) {
    key.push_back(static_cast<int>(ranges->size()));
    for (const Range& range : *ranges) key.insert(key.end(), {range.from, range.count});
  }
  if (const auto found = packs_.find(key); found != packs_.end()) return found->second->pack;
  const int fullColumns = shape.size() > 1 ? shape[1] : 1;
  int area = 1;
  for (size_t dimension = 2; dimension < shape.size(); ++dimension) area *= shape[dimension];
  auto made = std::make_unique<Packed>();
  Pack& pack = made->pack;
  pack.outChannels = countOf(rows);
  pack.inChannels = countOf(columns);
  pack.outPadded = groups * padded(pack.outChannels / groups);
  pack.inPadded = oneColumn ? 1 : padded(pack.inChannels * convGroups);
  pack.convGroups = convGroups;
  pack.groups = groups;
  pack.bf16 = half;
  if (!isFirst(rows)) {
    pack.rows = indices(rows);
    pack.rowOf = table(inverseOf(rows, shape[0]));
  }
  if (!isFirst(columns)) {
    pack.columns = indices(columns);
    pack.columnOf = table(inverseOf(columns, fullColumns));
  }
  const size_t bytes = size_t{half ? 2u : 4u} * pack.outPadded * area * pack.inPadded;
  made->memory.reserve(bytes);
  WBSR_CUDA(cudaMemsetAsync(made->memory.as(), 0, bytes, stream_));  // padding stays zero
  pack.data = made->memory.as();
  byParameter_[static_cast<size_t>(slice.parameter)].push_back(made.get());
  tablesStale_ = packsStale_ = true;
  return packs_.emplace(key, std::move(made)).first->second->pack;
}

const Pack& Weights::weightPack(const ParameterSlice& slice, int groups, int convGroups) {
  return pack(slice, groups, convGroups, precision_ == Precision::Bf16, false);
}

const Pack& Weights::columnPack(const ParameterSlice& slice, int groups) { return pack(slice, groups, 1, false, true); }

void Weights::uploadTables() {
  ParameterTable table = parameterTable(graph_);
  std::vector<Pack> packs;
  for (size_t p = 0; p < table.entries.size(); ++p) {
    table.entries[p].firstPack = static_cast<int>(packs.size());
    table.entries[p].packs = static_cast<int>(byParameter_[p].size());
    for (const Packed* packed : byParameter_[p]) packs.push_back(packed->pack);
  }
  const std::vector<OptimizerChunk> chunks = optimizerChunks(table);
  chunkCount_ = static_cast<int>(chunks.size());
  const auto upload = [&](DeviceBuffer& buffer, const auto& values) {
    const size_t bytes = values.size() * sizeof(values[0]);
    buffer.reserve(std::max<size_t>(bytes, 1));
    copyNow(buffer.as(), values.data(), bytes, cudaMemcpyHostToDevice, stream_);
  };
  upload(entries_, table.entries);
  upload(shells_, table.shells);
  upload(chunks_, chunks);
  upload(packList_, packs);
  tablesStale_ = false;
}

OptimizerArguments Weights::arguments() const {
  OptimizerArguments a{};
  a.parameters = entries_.as<ParameterEntry>();
  a.shells = shells_.as<uint8_t>();
  a.chunks = chunks_.as<OptimizerChunk>();
  a.chunkCount = chunkCount_;
  a.packs = packList_.as<Pack>();
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
  // The memory must not move, because captured graphs hold its addresses.
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
               shells_.bytes() + chunks_.bytes() + packList_.bytes();
  for (const auto& [key, packed] : packs_) sum += packed->memory.bytes();
  for (const auto& [key, buffer] : tables_) sum += buffer->bytes();
  return static_cast<int64_t>(sum);
}

}  // namespace wbsr::cuda

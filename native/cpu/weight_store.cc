#include "cpu/weight_store.h"

#include <algorithm>

#include "cpu/conv_primitives.h"
#include "cpu/pointwise.h"
#include "cpu/tensor.h"
#include "cpu/winograd.h"

namespace wbsr::cpu {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

int countOf(const Ranges& ranges) {
  int count = 0;
  for (const Range& range : ranges) count += range.count;
  return count;
}

int sourceRow(int row, int out, int groups, int lanes) {
  const int perGroup = out / groups, padded = roundUp(perGroup, lanes);
  const int group = row / padded, channel = row % padded;
  if (group >= groups || channel >= perGroup) return -1;
  return channel * groups + group;
}

WeightStore::WeightStore(const Graph& graph) : graph_(graph), lanes_(lanesOfBlocks()) {}

Packed& WeightStore::get(const PackedKey& key, const memory::desc& desc, dnnl::stream& stream) {
  std::lock_guard<std::mutex> lock(lock_);
  for (auto& entry : entries_)
    if (entry->key == key && (key.packing != Packing::OneDnn || entry->desc == desc)) return refreshed(*entry, stream);
  entries_.push_back(std::make_unique<Packed>());
  Packed& entry = *entries_.back();
  entry.key = key;
  entry.desc = desc;
  refresh(entry, stream);
  return entry;
}

Packed& WeightStore::current(Packed& packed, dnnl::stream& stream) {
  std::lock_guard<std::mutex> lock(lock_);
  return refreshed(packed, stream);
}

Packed& WeightStore::refreshed(Packed& packed, dnnl::stream& stream) {
  if (packed.version != version_) refresh(packed, stream);
  return packed;
}

std::vector<float> WeightStore::vector(const ParameterSlice& slice, int padded) const {
  const float* values = master_ + parameter(slice).offset;
  std::vector<float> result;
  for (const Range& range : slice.ranges[0])
    result.insert(result.end(), values + range.from, values + range.from + range.count);
  result.resize(static_cast<size_t>(padded), 0.f);
  return result;
}

void WeightStore::refresh(Packed& packed, dnnl::stream& stream) {
  const PackedKey& key = packed.key;
  const Parameter& weight = parameter(key.weight);
  const std::vector<int> outputs = indicesOf(key.weight.ranges[0]), inputs = indicesOf(key.weight.ranges[1]);
  const int outCount = static_cast<int>(outputs.size()), perBlock = static_cast<int>(inputs.size());
  const int inCount = perBlock * key.blocks;
  const int fullIn = weight.shape[1], k = weight.shape[2], area = k * k;
  const float* master = master_ + weight.offset;
  const int lanes = lanes_, groups = key.groups;
  // The slice as a dense (rows, columns, k, k) array in the consumer's order: rows are its outputs.
  const bool flip = key.flipped;
  int rows = flip ? inCount : outCount, columns = flip ? outCount : inCount;
  if (key.packing == Packing::OneDnn) {
    const auto dims = packed.desc.dims();
    rows = static_cast<int>(dims[0]);
    columns = dims.size() == 5 ? 1 : static_cast<int>(dims[1]);
  }
  const int rowGroups = flip ? 1 : groups, columnGroups = flip ? groups : 1;
  const bool own =
      key.packing == Packing::Winograd || key.packing == Packing::Pointwise || key.packing == Packing::Int8;
  if (own) rows = rowGroups * roundUp(rows / rowGroups, lanes);
  const bool padColumns = key.packing == Packing::Thin || own;
  const int paddedColumns = padColumns ? columnGroups * roundUp(columns / columnGroups, lanes) : columns;
  std::vector<float> dense(static_cast<size_t>(rows) * paddedColumns * area, 0.f);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < paddedColumns; ++c) {
      int out = flip ? c : r, in = flip ? r : c;
      if (groups > 1) out = sourceRow(out, outCount, groups, lanes);
      if (out < 0 || out >= outCount || in >= inCount) continue;
      const int local = in - out / (outCount / key.blocks) * perBlock;
      if (local < 0 || local >= perBlock) continue;
      const float* from = master + (static_cast<int64_t>(outputs[out]) * fullIn + inputs[local]) * area;
      float* to = dense.data() + (static_cast<int64_t>(r) * paddedColumns + c) * area;
      for (int t = 0; t < area; ++t) to[t] = from[flip ? area - 1 - t : t];
    }
  if (key.packing == Packing::OneDnn) {
    if (!packed.memory) packed.memory = memory(packed.desc, engine_);
    const bool depthwise = packed.desc.dims().size() == 5;
    memory plain(depthwise ? memory::desc({rows, 1, 1, k, k}, Type::f32, Tag::goihw)
                           : memory::desc({rows, columns, k, k}, Type::f32, Tag::oihw),
                 engine_, dense.data());
    dnnl::reorder(plain, packed.memory).execute(stream, plain, packed.memory);
    stream.wait();
  } else if (key.packing == Packing::Thin) {
    // (k, k, blocks, outputs, L)
    const int blocks = paddedColumns / lanes;
    packed.values.assign(dense.size(), 0.f);
    for (int t = 0; t < area; ++t)
      for (int b = 0; b < blocks; ++b)
        for (int r = 0; r < rows; ++r)
          for (int l = 0; l < lanes; ++l)
            packed.values[((static_cast<size_t>(t) * blocks + b) * rows + r) * lanes + l] =
                dense[(static_cast<size_t>(r) * paddedColumns + b * lanes + l) * area + t];
  } else if (key.packing == Packing::Winograd) {
    packed.values = packWinograd(dense, rows, paddedColumns, lanes);
  } else if (key.packing == Packing::Pointwise) {
    packed.values = packPointwise(dense, rows, paddedColumns, lanes);
  } else if (key.packing == Packing::Int8) {
    packed.int8 = packInt8(dense, rows, paddedColumns, lanes);
  } else {
    packed.values = std::move(dense);
  }
  packed.bias.assign(static_cast<size_t>(std::max(rows, outCount)), 0.f);
  if (!flip && key.bias >= 0) {
    const float* bias = master_ + graph_.parameters()[static_cast<size_t>(key.bias)].offset;
    for (int r = 0; r < rows; ++r) {
      const int out = groups > 1 ? sourceRow(r, outCount, groups, lanes) : r;
      if (out >= 0 && out < outCount) packed.bias[r] = bias[outputs[out]];
    }
  }
  packed.version = version_;
}

int64_t WeightStore::bytes() const {
  int64_t total = 0;
  for (const auto& entry : entries_)
    total +=
        static_cast<int64_t>((entry->values.size() + entry->bias.size() + entry->int8.dense.size()) * sizeof(float) +
                             (entry->memory ? entry->desc.get_size() : 0));
  return total;
}

}  // namespace wbsr::cpu

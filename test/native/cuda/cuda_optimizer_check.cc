// Checks of native/cuda/optimizer.cu: ten steps against cpu::Adam, packs against the master weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/adam_steps.h"
#include "cpu/adam.h"
#include "cuda/program/layout.h"
#include "cuda/optimizer.h"
#include "support/cuda_check.h"
#include "support/graph_builder.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

// Rows of 27 floats and of thousands, a filter bank in front of a shuffle, a mean shift that no width changes.
wbsr::Graph graphOf(std::vector<int> widths) {
  graphs::Builder b;
  const ChannelRule width = graphs::width(), rgb = graphs::fixed(3);
  const int wide = b.conv("wide", b.conv("head", b.conv("shift", b.input(), rgb, 1), width), width, 9, false);
  const int up = b.shuffle(b.conv("up", wide, graphs::width(4)), 2);
  const int last = b.conv("last", b.conv("small", up, width, 1), rgb);
  return wbsr::Graph(2, std::move(widths), {1}, b.nodes, last);
}

wbsr::Graph someGraph() { return graphOf({8, 13, 36}); }

wbsr::Graph manyWidths() {
  std::vector<int> widths;
  for (int w = 0; w < 17; ++w) widths.push_back(8 + w);
  return graphOf(widths);
}

// Packs on the device, with the parameter and the groups of each.
struct PackSet {
  struct Info {
    size_t parameter;
    Pack pack;
    size_t at;  // bytes
  };
  std::vector<Info> infos;
  size_t bytes = 0;

  void add(size_t parameter, int out, int in, int area, int groups, bool bias, bool asBf16) {
    Pack p{};
    p.outChannels = out;
    p.inChannels = in;
    p.outPadded = groups * padded(out / groups);
    p.inPadded = bias ? 1 : padded(in);
    p.groups = groups;
    p.bf16 = asBf16;
    infos.push_back({parameter, p, bytes});
    bytes += (static_cast<size_t>(p.outPadded) * area * p.inPadded * (asBf16 ? 2 : 4) + 255) / 256 * 256;
  }
};

float elementOf(const std::vector<unsigned char>& memory, const PackSet::Info& info, size_t index) {
  if (!info.pack.bf16) {
    float value;
    std::memcpy(&value, memory.data() + info.at + index * 4, 4);
    return value;
  }
  bf16 value;
  std::memcpy(&value, memory.data() + info.at + index * 2, 2);
  return __bfloat162float(value);
}

// Every element of every pack: the master's, rounded if bf16, and 0 in the padding.
void checkPacks(const PackSet& set, const std::vector<unsigned char>& memory,
                const std::vector<ParameterEntry>& entries, const std::vector<float>& weights,
                const std::string& what) {
  for (const PackSet::Info& info : set.infos) {
    const ParameterEntry& e = entries[info.parameter];
    const Pack& p = info.pack;
    std::vector<float> expected(static_cast<size_t>(p.outPadded) * e.area * p.inPadded, 0.f), got;
    for (int o = 0; o < p.outChannels; ++o) {
      const int row = o % p.groups * padded(p.outChannels / p.groups) + o / p.groups;
      for (int i = 0; i < p.inChannels; ++i)
        for (int t = 0; t < e.area; ++t) {
          const float w = weights[static_cast<size_t>(e.offset + (int64_t{o} * e.columns + i) * e.area + t)];
          expected[(static_cast<size_t>(p.groups == 1 ? o : row) * e.area + t) * p.inPadded + i] =
              p.bf16 ? stored<bf16>(w) : w;
        }
    }
    for (size_t i = 0; i < expected.size(); ++i) got.push_back(elementOf(memory, info, i));
    sameBits(got, expected,
             what + ", pack of parameter " + std::to_string(info.parameter) + " " + std::to_string(p.outChannels) +
                 "x" + std::to_string(p.inChannels));
  }
}

// Everything that the kernel reads, on the device.
struct Arrays {
  std::vector<ParameterEntry> entries;
  std::vector<OptimizerChunk> chunks;
  PackSet set;
  DeviceArray<unsigned char> packMemory;
  DeviceArray<ParameterEntry> parameters;
  DeviceArray<uint8_t> shells;
  DeviceArray<OptimizerChunk> chunkArray;
  DeviceArray<Pack> packs;

  Arrays(const ParameterTable& table, PackSet s)
      : entries(table.entries),
        chunks(optimizerChunks(table)),
        set(std::move(s)),
        packMemory(set.bytes),
        parameters(entries.size()),
        shells(table.shells),
        chunkArray(chunks),
        packs(set.infos.size()) {
    packMemory.zero();
    std::vector<Pack> list;
    for (size_t i = 0; i < set.infos.size(); ++i) {
      ParameterEntry& owner = entries[set.infos[i].parameter];
      if (owner.packs++ == 0) owner.firstPack = static_cast<int>(i);
      set.infos[i].pack.data = packMemory.data() + set.infos[i].at;
      list.push_back(set.infos[i].pack);
    }
    parameters.upload(entries);
    packs.upload(list);
  }
  OptimizerArguments arguments() const {
    OptimizerArguments a{};
    a.parameters = parameters.data();
    a.shells = shells.data();
    a.chunks = chunkArray.data();
    a.chunkCount = static_cast<int>(chunks.size());
    a.packs = packs.data();
    return a;
  }
};

// Chunks cover every element once and stay within what the kernel can stage.
void checkChunks(const ParameterTable& table) {
  const std::vector<ParameterEntry>& entries = table.entries;
  const std::vector<OptimizerChunk> chunks = optimizerChunks(table);
  for (size_t p = 0; p < entries.size(); ++p) {
    const ParameterEntry& e = entries[p];
    std::vector<int> covered(static_cast<size_t>(e.rows) * e.columns, 0);
    for (const OptimizerChunk& c : chunks) {
      if (c.parameter != static_cast<int>(p)) continue;
      check(c.rows * c.columns * e.area <= 1800 && (c.columns == e.columns || c.rows == 1),
            "a chunk is small and contiguous");
      check(c.firstColumn % 8 == 0, "a chunk begins at a whole vector of channels");
      for (int r = 0; r < c.rows; ++r)
        for (int i = 0; i < c.columns; ++i)
          ++covered[static_cast<size_t>(c.firstRow + r) * e.columns + c.firstColumn + i];
    }
    check(std::all_of(covered.begin(), covered.end(), [](int n) { return n == 1; }),
          "chunks cover parameter " + std::to_string(p) + " once");
  }
}

void tenSteps(bool withEma, cudaStream_t stream) {
  const wbsr::Graph graph = someGraph();
  const size_t count = static_cast<size_t>(graph.parameterCount()), parameters = graph.parameters().size(),
               widths = graph.widths().size();
  const ParameterTable table = parameterTable(graph);
  const std::vector<ParameterEntry>& entries = table.entries;
  checkChunks(table);
  // How many rows, columns of a parameter a width has.
  const auto within = [&](int first, int count, int width) {
    const auto from = table.shells.begin() + first;
    return static_cast<int>(std::count_if(from, from + count, [&](int shell) { return shell <= width; }));
  };
  const auto rowsAt = [&](size_t p, int w) { return within(entries[p].firstRowShell, entries[p].rows, w); };
  const auto columnsAt = [&](size_t p, int w) { return within(entries[p].firstColumnShell, entries[p].columns, w); };
  PackSet set;
  for (size_t p = 0; p < parameters; ++p)
    for (size_t w = 0; w < widths; ++w) {
      const Parameter& parameter = graph.parameters()[p];
      const int groups = parameter.name.rfind("up.", 0) == 0 ? 4 : 1;
      const bool bias = parameter.shape.size() == 1;
      const int rows = rowsAt(p, static_cast<int>(w)), columns = columnsAt(p, static_cast<int>(w));
      set.add(p, rows, columns, entries[p].area, groups, bias, !bias);
      if (!bias) set.add(p, rows, columns, entries[p].area, 1, false, w == 1);
    }
  const Arrays arrays(table, set);

  std::vector<float> weights = randomVector(count, 1, -0.3, 0.3), m(count, 0.f), v(count, 0.f), ema = weights;
  DeviceArray<float> weightsOn(weights), mOn(m), vOn(v), emaOn(ema), gradientOn(count);
  DeviceArray<math::AdamStep> stepsOn(parameters * widths);
  DeviceArray<int32_t> touchedOn(parameters), stopOn(1);
  stopOn.zero();
  OptimizerArguments a = arrays.arguments();
  a.widths = static_cast<int>(widths);
  a.steps = stepsOn.data();
  a.touched = touchedOn.data();
  a.weights = weightsOn.data();
  a.m = mOn.data();
  a.v = vOn.data();
  a.ema = withEma ? emaOn.data() : nullptr;
  a.gradient = gradientOn.data();
  a.stop = stopOn.data();
  packWeights(a, stream);
  CUDA_OK(cudaStreamSynchronize(stream));
  checkPacks(arrays.set, arrays.packMemory.download(), arrays.entries, weights, "packWeights");

  cpu::Adam adam(graph);
  std::vector<int32_t> counts(parameters * widths, 0);
  std::vector<math::AdamStep> steps;
  Random random{3};
  for (int step = 0; step < 10; ++step) {
    std::vector<int> touched(parameters);
    for (int& t : touched) t = step == 9 ? 2 : static_cast<int>((random.next() + 1) * 2) - 1;  // -1 .. 2
    // What no touched shell has is not to be read, let alone used.
    std::vector<float> gradient(count, std::numeric_limits<float>::quiet_NaN());
    const std::vector<float> values = randomVector(count, static_cast<uint64_t>(step) + 10, -1, 1);
    std::vector<bool> inShell(count, false);
    for (size_t p = 0; p < parameters; ++p) {
      if (touched[p] < 0) continue;
      const ParameterEntry& e = entries[p];
      for (int o = 0; o < rowsAt(p, touched[p]); ++o)
        for (int64_t i = 0; i < int64_t{columnsAt(p, touched[p])} * e.area; ++i) {
          const size_t at = static_cast<size_t>(e.offset + int64_t{o} * e.columns * e.area + i);
          gradient[at] = values[at];
          inShell[at] = true;
        }
    }
    const std::vector<float> before = weightsOn.download(), emaBefore = emaOn.download();
    const AdamSettings settings{1e-3f * static_cast<float>(step + 1), 0.9f, 0.99f, 1e-8f, 0.01f, withEma ? 0.9f : 0.f};
    adam.step(touched, settings, weights.data(), gradient.data(), m.data(), v.data(), withEma ? ema.data() : nullptr);
    adamSteps(graph, touched, settings, counts, steps);
    gradientOn.upload(gradient);
    stepsOn.upload(steps);
    touchedOn.upload(std::vector<int32_t>(touched.begin(), touched.end()));
    adamStepAndPack(a, stream);
    const std::string what = "step " + std::to_string(step) + (withEma ? "" : " without EMA");
    const std::vector<float> after = weightsOn.download(), emaAfter = emaOn.download();
    closeTo(after, weights, 1e-7, 1e-6, what + ": weights");
    closeTo(mOn.download(), m, 1e-7, 1e-6, what + ": first moments");
    closeTo(vOn.download(), v, 1e-9, 1e-6, what + ": second moments");
    closeTo(emaAfter, ema, 1e-7, 1e-6, what + ": EMA");
    size_t moved = 0;
    for (size_t i = 0; i < count; ++i) moved += !inShell[i] && (after[i] != before[i] || emaAfter[i] != emaBefore[i]);
    check(moved == 0, what + ": what was not touched stays");
    checkPacks(arrays.set, arrays.packMemory.download(), arrays.entries, after, what);
  }
  check(counts == adam.counts, "the same step counts");

  // A run that stopped: nothing moves.
  const std::vector<float> before = weightsOn.download(), moments = mOn.download();
  const std::vector<unsigned char> packsBefore = arrays.packMemory.download();
  stopOn.upload({1});
  adamStepAndPack(a, stream);
  sameBits(weightsOn.download(), before, "weights after a step that was stopped");
  sameBits(mOn.download(), moments, "moments after a step that was stopped");
  sameBits(arrays.packMemory.download(), packsBefore, "packs after a step that was stopped");
}

// More rows than a grid's second dimension has, and rows that are split.
void manyRows(int rows, int columns, int area, int groups, cudaStream_t stream) {
  ParameterEntry e{};
  e.offset = 5;
  e.rows = rows;
  e.columns = columns;
  e.area = area;
  e.firstColumnShell = rows;
  const ParameterTable table{{e}, std::vector<uint8_t>(static_cast<size_t>(rows) + columns, 0)};
  checkChunks(table);
  PackSet set;
  set.add(0, rows, columns, area, groups, columns * area == 1, columns * area != 1);
  const Arrays arrays(table, set);
  const std::vector<float> weights = randomVector(static_cast<size_t>(int64_t{rows} * columns * area + 5), 21);
  DeviceArray<float> weightsOn(weights);
  OptimizerArguments a = arrays.arguments();
  a.widths = 1;
  a.weights = weightsOn.data();
  packWeights(a, stream);
  checkPacks(arrays.set, arrays.packMemory.download(), arrays.entries, weights, std::to_string(rows) + " rows");
}

void finiteness(cudaStream_t stream) {
  const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                       -std::numeric_limits<float>::infinity()};
  const auto stopOf = [&](const std::vector<float>& gradient, const std::vector<double>& sums, int32_t before) {
    DeviceArray<float> on(gradient);
    DeviceArray<double> sumsOn(sums);
    DeviceArray<int32_t> stop(std::vector<int32_t>{before});
    checkFinite(on.data(), static_cast<int64_t>(gradient.size()), sumsOn.data(), static_cast<int>(sums.size()),
                stop.data(), stream);
    return stop.download()[0];
  };
  for (size_t count : {0, 1, 3, 4, 6, 4099, 20001}) {
    std::vector<float> gradient = randomVector(count, 41);
    if (count > 2) gradient[1] = std::numeric_limits<float>::max(), gradient[2] = -1e-42f;
    check(stopOf(gradient, {1, -2, 1e300}, 0) == 0, "finite numbers do not stop");
    check(stopOf(gradient, {}, 2) == 2, "a flag that is set stays");
    for (float value : bad) {
      for (size_t at : {size_t{0}, count / 2, count - 1}) {
        if (count == 0) continue;
        std::vector<float> spoilt = gradient;
        spoilt[at] = value;
        check(stopOf(spoilt, {1, 2}, 2) == 3,
              "gradient " + std::to_string(at) + " of " + std::to_string(count) + " stops");
      }
      for (size_t at : {0, 299}) {
        std::vector<double> sums(300, 1e300);
        sums[at] = value;
        check(stopOf(gradient, sums, 0) == 1, "sum " + std::to_string(at) + " stops");
      }
    }
  }
}

}  // namespace

int main() {
  const Stream stream;
  tenSteps(true, stream);
  tenSteps(false, stream);
  manyRows(70001, 1, 1, 1, stream);
  manyRows(70004, 1, 1, 4, stream);
  manyRows(65544, 3, 1, 4, stream);
  manyRows(3, 1021, 3 * 3, 1, stream);
  manyRows(2, 19, 15 * 15, 1, stream);
  finiteness(stream);
  std::string message;
  try {
    parameterTable(manyWidths());
  } catch (const Error& error) {
    message = error.what();
  }
  check(message == "Expected at most 16 entries (on a CUDA device) for widths but received 17",
        "more widths than the kernel has room for: " + message);
  return finish();
}

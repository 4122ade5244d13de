// The end of a backward pass (native/cuda/gradient_sums.h): weight gradients in cuDNN's order and partial sums of channels,
// all of a pass at once, against loops on the host.
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/program/layout.h"
#include "support/gradient_parts.h"

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

namespace {

// Sums of a pass, the gradient arena before, and what it holds afterwards.
struct Pass {
  GradientSums sums;
  std::vector<float> before, expected;
  std::vector<std::shared_ptr<DeviceArray<int>>> indices;
  std::vector<std::function<void(const GradientParts&)>> fills;
  int launches = 0;  // that it takes

  // Room for a parameter; returns its place.
  int64_t parameter(int64_t count) {
    const auto at = static_cast<int64_t>(before.size()) + 3;  // rows have no alignment
    const std::vector<float> values = randomVector(static_cast<size_t>(count) + 3, before.size() + 5);
    before.insert(before.end(), values.begin(), values.end());
    expected = before;
    return at;
  }
  const int* onDevice(const std::vector<int>& numbers) {
    indices.push_back(std::make_shared<DeviceArray<int>>(numbers));
    return indices.back()->data();
  }
  template <typename T>
  void fill(int64_t place, const std::vector<float>& values) {
    fills.push_back([place, stored = to<T>(values)](const GradientParts& parts) {
      CUDA_OK(cudaMemcpy(parts.at<T>(place), stored.data(), stored.size() * sizeof(T), cudaMemcpyHostToDevice));
    });
  }
};

struct Packed {
  int out, in, fullOut, fullIn, area, groups = 1, convGroups = 1;
  bool scattered = false;  // every second row and column of the parameter
};

template <typename T>
std::function<void(Pass&)> add(Pass& pass, const Packed& w) {
  WeightSum sum{};
  Pack& slice = sum.slice;
  slice.outChannels = w.out;
  slice.inChannels = w.in;
  slice.outPadded = w.groups * padded(w.out / w.groups);
  slice.inPadded = padded(w.in * w.convGroups);
  slice.groups = w.groups;
  slice.convGroups = w.convGroups;
  const auto indexOf = [scattered = w.scattered](int i) { return scattered ? 2 * i + 1 : i; };
  if (w.scattered) {
    std::vector<int> rows(static_cast<size_t>(w.out)), columns(static_cast<size_t>(w.in));
    for (int o = 0; o < w.out; ++o) rows[static_cast<size_t>(o)] = indexOf(o);
    for (int i = 0; i < w.in; ++i) columns[static_cast<size_t>(i)] = indexOf(i);
    slice.rows = pass.onDevice(rows);
    slice.columns = pass.onDevice(columns);
  }
  sum.area = w.area;
  sum.fullIn = w.fullIn;
  sum.half = sizeof(T) == sizeof(bf16);
  sum.to = pass.parameter(int64_t{w.fullOut} * w.fullIn * w.area);
  const std::vector<float> packed =
      stored<T>(randomVector(static_cast<size_t>(slice.outPadded) * w.area * slice.inPadded, 31));
  pass.fill<T>(pass.sums.add(sum), packed);
  return [=](Pass& p) {
    for (int o = 0; o < w.out; ++o)
      for (int i = 0; i < w.in; ++i)
        for (int t = 0; t < w.area; ++t) {
          const int row = w.groups == 1 ? o : o % w.groups * padded(w.out / w.groups) + o / w.groups;
          const int column = o / (w.out / w.convGroups) * w.in + i;
          const auto to = sum.to + (int64_t{indexOf(o)} * w.fullIn + indexOf(i)) * w.area + t;
          p.expected[static_cast<size_t>(to)] +=
              packed[(static_cast<size_t>(row) * w.area + t) * slice.inPadded + column];
        }
  };
}

struct Partials {
  int chunks, channels, groups = 1, area = 1;
  bool scattered = false;
};

std::function<void(Pass&)> add(Pass& pass, const Partials& c) {
  const int wide = padded(c.channels / c.groups);
  ChannelSum sum{0, pass.parameter(int64_t{2} * c.channels * c.area), c.chunks, c.groups * wide, c.channels};
  sum.groups = c.groups;
  sum.area = c.area;
  std::vector<int> rows(static_cast<size_t>(c.channels));
  std::iota(rows.begin(), rows.end(), 0);
  if (c.scattered) {
    for (int& row : rows) row = 2 * row + 1;
    sum.rows = pass.onDevice(rows);
  }
  const std::vector<float> partial =
      randomVector(static_cast<size_t>(c.chunks) * c.area * sum.padded, 17 + c.channels, -0.5, 1.5);
  pass.fill<float>(pass.sums.add(sum), partial);
  return [=](Pass& p) {
    for (int i = 0; i < c.channels; ++i)
      for (int t = 0; t < c.area; ++t) {
        double total = 0;
        for (int chunk = 0; chunk < c.chunks; ++chunk)
          total += partial[(static_cast<size_t>(chunk) * c.area + t) * sum.padded + i % c.groups * wide + i / c.groups];
        p.expected[static_cast<size_t>(sum.to + int64_t{rows[static_cast<size_t>(i)]} * c.area + t)] +=
            static_cast<float>(total);
      }
  };
}

void compare(Pass& pass, const std::vector<std::function<void(Pass&)>>& adds, const std::string& what,
             cudaStream_t stream) {
  for (const auto& add : adds) add(pass);
  const GradientParts parts(pass.sums);
  for (const auto& fill : pass.fills) fill(parts);
  DeviceArray<float> gradient(pass.before), again(pass.before);
#ifdef WBSR_HOST_CUDA
  const uint64_t before = host_cuda::launches();
#endif
  parts.addTo(gradient.data(), stream);
#ifdef WBSR_HOST_CUDA
  check(host_cuda::launches() - before == static_cast<uint64_t>(pass.launches),
        what + ": " + std::to_string(host_cuda::launches() - before) + " launches");
#endif
  parts.addTo(again.data(), stream);
  closeTo(gradient.download(), pass.expected, 1e-6, 1e-6, what);
  sameBits(again.download(), gradient.download(), what + ", again");
}

}  // namespace

int main() {
  const Stream stream;
  {
    Pass pass;
    std::vector<std::function<void(Pass&)>> adds;
    for (const Packed& w : {Packed{1, 1, 1, 1, 1}, Packed{36, 13, 64, 36, 9}, Packed{144, 36, 256, 64, 9, 4},
                            Packed{5, 3, 5, 3, 25}, Packed{2, 40, 3, 41, 225}, Packed{2, 700, 2, 700, 9},
                            Packed{6, 5, 12, 5, 9, 1, 3}, Packed{7, 11, 14, 22, 9, 1, 1, true}}) {
      adds.push_back(add<float>(pass, w));
      adds.push_back(add<bf16>(pass, w));
    }
    for (const Partials& c :
         {Partials{1, 3}, Partials{256, 64}, Partials{37, 40}, Partials{5, 208, 4}, Partials{9, 324, 9},
          Partials{13, 20, 1, 9}, Partials{3, 12, 1, 25, true}, Partials{0, 8}, Partials{70, 36, 1, 1, true}})
      adds.push_back(add(pass, c));
    pass.launches = 2;
    compare(pass, adds, "all sums of a pass", stream);
  }
  {
    Pass pass;
    const auto channels = add(pass, Partials{2, 8});
    pass.launches = 1;
    compare(pass, {channels}, "sums of channels alone", stream);
  }
#ifndef __SANITIZE_THREAD__  // a thread for each of them would take minutes
  {
    Pass pass;
    const auto many = add<float>(pass, Packed{70000, 2, 70000, 2, 1, 4});
    pass.launches = 1;
    compare(pass, {many}, "more rows than a grid's second dimension has", stream);
  }
#endif
  return finish();
}

// What the checks of the whole CUDA device share: pairs of devices with the same weights, jobs, comparisons.
#pragma once
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "support/check.h"
#include "core/error.h"
#include "cpu/device.h"
#include "cuda/device.h"
#include "support/graphs.h"
#ifdef WBSR_HOST_CUDA
#include "control.h"
#include "fake_cudnn.h"
#endif

namespace wbsr::test {

// On the host cuDNN is the fake one.
inline void prepareDevice() {
#ifdef WBSR_HOST_CUDA
  host_cuda::installFakeCudnn();
#endif
}

struct Pair {
  std::unique_ptr<Device> cpu, cuda;
};

inline std::unique_ptr<Device> makeCuda(const Graph& graph, Precision precision, const std::vector<float>& weights) {
  DeviceOptions options;
  options.precision = precision;
  auto device = cuda::makeDevice(graph, options);
  device->setArena(Arena::Weights, weights.data());
  return device;
}

inline Pair makePair(const Graph& graph, Precision precision, uint64_t seed) {
  const std::vector<float> weights = graphs::toFloat(graphs::randomParameters(graph, seed));
  Pair pair{cpu::makeDevice(graph, 1, nullptr), makeCuda(graph, precision, weights)};
  pair.cpu->setArena(Arena::Weights, weights.data());
  return pair;
}

inline std::vector<float> noise(size_t count, uint64_t seed, double low = 0, double high = 1) {
  Random random{seed};
  std::vector<float> out(count);
  for (float& v : out) v = static_cast<float>(low + (random.next() * 0.5 + 0.5) * (high - low));
  return out;
}

inline bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Largest difference, relative to the largest expected value.
inline double gap(const std::vector<float>& actual, const std::vector<float>& expected) {
  double largest = 1e-12, worst = 0;
  for (float v : expected) largest = std::max(largest, static_cast<double>(std::fabs(v)));
  for (size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(actual[i])) return INFINITY;
    worst = std::max(worst, std::fabs(static_cast<double>(actual[i]) - expected[i]));
  }
  return worst / largest;
}

// Root of the mean squared difference, relative to that of the expected values: what bf16's rounding is judged by.
inline double rmsGap(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0, size = 1e-24;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (static_cast<double>(actual[i]) - expected[i]) * (static_cast<double>(actual[i]) - expected[i]);
    size += static_cast<double>(expected[i]) * expected[i];
  }
  return std::sqrt(difference / size);
}

inline TrainJob stepJob(const std::vector<float>& lr, const std::vector<float>& hr, int batch, int height, int width,
                        std::vector<int> subnets) {
  TrainJob job{};
  job.lr = lr.data();
  job.hr = hr.data();
  job.batch = batch;
  job.height = height;
  job.width = width;
  job.subnets = std::move(subnets);
  job.loss.element = ElementLoss::L1;
  job.learningRate = 1e-3f;
  job.beta1 = 0.9f;
  job.beta2 = 0.999f;
  job.epsilon = 1e-8f;
  job.emaDecay = 0.5f;
  return job;
}

// A mixture of two Gaussians on grey levels (D = 1) or colours (D = 3).
inline LossSpec balancedLoss(int dimension, ElementLoss fidelity) {
  LossSpec spec;
  spec.balanced = true;
  spec.element = fidelity;
  spec.dimension = dimension;
  spec.sigma = 0.05f;
  spec.fidelityScale = 0.3f;
  spec.mixture.dimension = dimension;
  spec.mixture.weights = {0.7, 0.3};
  for (int k = 0; k < 2; ++k)
    for (int d = 0; d < dimension; ++d) {
      spec.mixture.means.push_back(k == 0 ? 0.3 : 0.7);
      for (int e = 0; e < dimension; ++e) spec.mixture.covariances.push_back(d == e ? 0.04 : 0.01);
    }
  return spec;
}

// Overlapping tiles of a picture as lib/infer makes them, subnets in turn.
inline std::vector<Region> tileRegions(const Graph& graph, int picture, int width, int height, int tile, int halo) {
  std::vector<Region> regions;
  const int overlap = std::min(2, halo);
  int subnet = 0;
  for (int y = 0; y < height; y += tile)
    for (int x = 0; x < width; x += tile) {
      const int left = std::max(0, x - overlap), top = std::max(0, y - overlap);
      const int right = std::min(width, x + tile + overlap), bottom = std::min(height, y + tile + overlap);
      const int l = std::max(0, left - halo), t = std::max(0, top - halo), r = std::min(width, right + halo),
                b = std::min(height, bottom + halo);
      regions.push_back({picture, subnet, l, t, r - l, b - t, left, top, right - left, bottom - top,
                         x > 0 ? 2 * overlap : 0, y > 0 ? 2 * overlap : 0, right < width ? 2 * overlap : 0,
                         bottom < height ? 2 * overlap : 0});
      subnet = (subnet + 1) % static_cast<int>(graph.subnets().size());
    }
  return regions;
}

// The code of the error that `work` throws, or "none".
template <typename F>
std::string errorOf(F&& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.code;
  }
  return "none";
}

inline std::vector<uint8_t> bytes(size_t count, uint64_t seed) {
  Random random{seed};
  std::vector<uint8_t> out(count);
  for (uint8_t& v : out) v = static_cast<uint8_t>((random.next() * 0.5 + 0.5) * 255.99);
  return out;
}

// One picture through infer() and a canvas: pixels out.
inline std::vector<uint8_t> upscaled(Device& device, const Graph& graph, const View& view,
                                     const std::vector<Region>& regions, int64_t batchPixels,
                                     InferReport* report = nullptr) {
  const int64_t width = int64_t{view.width} * graph.scale(), rows = int64_t{view.height} * graph.scale();
  const auto canvas = device.makeCanvas(width, rows + 3);
  canvas->move(0, 0, rows);
  InferJob job;
  job.pictures.push_back({view, canvas.get(), nullptr, nullptr});
  job.regions = regions;
  job.maxBatchPixels = batchPixels;
  const InferReport made = device.infer(job);
  if (report) *report = made;
  std::vector<uint8_t> out(static_cast<size_t>(width * rows) * static_cast<size_t>(view.channels));
  const int channels = view.channels;
  std::vector<float> alpha(static_cast<size_t>(width * rows), 0.75f);
  canvas->finish(0, rows, channels, channels == 2 || channels == 4 ? alpha.data() : nullptr, Sample::U8, out.data());
  return out;
}

inline int largestDifference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int worst = a.size() == b.size() ? 0 : 256;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) worst = std::max(worst, std::abs(int{a[i]} - int{b[i]}));
  return worst;
}

}  // namespace wbsr::test

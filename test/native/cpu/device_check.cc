// What the CPU device offers around its networks: pictures of every type, the canvas, routing, batches made from crops,
// steps that are submitted and waited for, and the refusal to update after a step that was not finite.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

#include "core/device.h"
#include "core/error.h"
#include "cpu/device.h"
#include "image/image.h"
#include "support/check.h"
#include "support/graph_builder.h"
#include "support/training_halves.h"

using namespace wbsr;
using test::check;
using test::Random;

namespace {

// One convolution, a shuffle, one convolution: x2, widths 8 and 16.
Graph smallGraph() {
  using namespace test::graphs;
  Builder b;
  const int wide = b.conv("b", b.conv("a", b.input(), width()), width(4));
  const int out = b.conv("c", b.shuffle(wide, 2), fixed(3));
  return Graph(2, {8, 16}, {1}, b.nodes, out);
}

std::unique_ptr<Device> deviceOf(const Graph& graph) {
  auto device = cpu::makeDevice(graph, 2, nullptr);
  device->initialise(7);
  return device;
}

struct Pixels {
  std::vector<uint8_t> bytes;
  View view;
  Pixels(Sample type, int width, int height, int channels, uint64_t seed)
      : bytes(sampleBytes(type) * width * height * channels) {
    Random random{seed};
    view = {bytes.data(), type, width, height, channels};
    for (int64_t i = 0; i < int64_t{width} * height * channels; ++i) {
      const double v = random.next() * 0.5 + 0.5;
      if (type == Sample::U8) bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(v * 255);
      if (type == Sample::U16) reinterpret_cast<uint16_t*>(bytes.data())[i] = static_cast<uint16_t>(v * 65535);
      if (type == Sample::F32) reinterpret_cast<float*>(bytes.data())[i] = static_cast<float>(v);
    }
  }
};

std::string nameOf(const View& view) {
  return std::to_string(sampleBytes(view.type)) + " bytes x " + std::to_string(view.channels);
}

// Two overlapping regions of one picture.
std::vector<Region> regionsOf(int picture, int width, int height) {
  const int half = width / 2;
  return {{picture, 0, 0, 0, half + 2, height, 0, 0, half + 1, height, 0, 0, 2, 0},
          {picture, 1, half - 2, 0, width - half + 2, height, half - 1, 0, width - half + 1, height, 2, 0, 0, 0}};
}

// Pictures of any type, with host arrays and on a canvas, give what float RGB gives.
void picturesAgree() {
  const Graph graph = smallGraph();
  auto device = deviceOf(graph);
  const int w = 19, h = 11;
  std::vector<Pixels> pictures;
  for (Sample type : {Sample::U8, Sample::U16, Sample::F32})
    for (int channels = 1; channels <= 4; ++channels) pictures.emplace_back(type, w, h, channels, pictures.size() + 1);
  const size_t area = static_cast<size_t>(w) * h * 4;
  InferJob plain, host, canvases;
  std::vector<std::vector<float>> rgb(pictures.size()), sums, weights;
  std::vector<std::unique_ptr<Canvas>> made;
  for (size_t i = 0; i < 2 * pictures.size(); ++i) sums.emplace_back(area * 3, 0.f), weights.emplace_back(area, 0.f);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const size_t other = i + pictures.size();
    rgb[i].resize(area * 3 / 4);
    image::toRgbFloat(pictures[i].view, rgb[i].data());
    plain.pictures.push_back({View{rgb[i].data(), Sample::F32, w, h, 3}, nullptr, sums[i].data(), weights[i].data()});
    host.pictures.push_back({pictures[i].view, nullptr, sums[other].data(), weights[other].data()});
    made.push_back(device->makeCanvas(w * 2, h * 2 + 3));
    made.back()->move(0, 0, h * 2);
    canvases.pictures.push_back({pictures[i].view, made.back().get(), nullptr, nullptr});
    for (InferJob* job : {&plain, &host, &canvases})
      for (const Region& r : regionsOf(static_cast<int>(i), w, h)) job->regions.push_back(r);
  }
  for (InferJob* job : {&plain, &host, &canvases}) {
    job->maxBatchPixels = 1000;
    const InferReport report = device->infer(*job);
    check(report.batches > 0 && report.flops > 0 && report.halvings == 0, "a report");
  }
  std::vector<float> alpha(area);
  Random random{5};
  for (float& a : alpha) a = static_cast<float>(random.next() * 0.5 + 0.5);
  for (size_t i = 0; i < pictures.size(); ++i) {
    const View& view = pictures[i].view;
    const size_t other = i + pictures.size();
    check(std::memcmp(sums[i].data(), sums[other].data(), area * 12) == 0 &&
              std::memcmp(weights[i].data(), weights[other].data(), area * 4) == 0,
          "sums of " + nameOf(view));
    std::vector<uint8_t> expected(area * view.channels * sampleBytes(view.type)), found(expected.size());
    const float* plane = view.channels % 2 == 0 ? alpha.data() : nullptr;
    for (const auto& [first, rows] : {std::pair{0, 5}, {5, h * 2 - 5}}) {
      const size_t before = static_cast<size_t>(first) * w * 2, at = before * view.channels * sampleBytes(view.type);
      image::finishRows(sums[i].data(), weights[i].data(), w * 2, first, rows, view.channels,
                        plane ? plane + before : nullptr, view.type, expected.data() + at);
      made[i]->finish(first, rows, view.channels, plane ? plane + before : nullptr, view.type, found.data() + at);
    }
    check(expected == found, "pixels of a canvas, " + nameOf(view));
  }
}

// Regions run side by side, or the largest on all threads: the sums are the same to the bit for any number of threads, and
// a job that is cancelled in the middle ends with WBSR_ABORTED and leaves the device usable.
void threadsAgree() {
  const Graph graph = smallGraph();
  const int w = 203, h = 61;
  const Pixels picture(Sample::U8, w, h, 3, 9);
  // Tiles of 20 with two pixels of halo, subnets in turn, and one region of the whole picture.
  InferJob tiles, mixed;
  for (int y = 0; y < h; y += 20)
    for (int x = 0; x < w; x += 20) {
      const int left = std::min(2, x), top = std::min(2, y), right = std::min(w, x + 22), bottom = std::min(h, y + 22);
      const Region region{0,
                          (x + y) / 20 % 2,
                          x - left,
                          y - top,
                          right - x + left,
                          bottom - y + top,
                          x - left,
                          y - top,
                          right - x + left,
                          bottom - y + top,
                          2 * left,
                          2 * top,
                          right < w ? 4 : 0,
                          bottom < h ? 4 : 0};
      tiles.regions.push_back(region);
    }
  mixed.regions = tiles.regions;
  mixed.regions.push_back({0, 1, 0, 0, w, h, 0, 0, w, h, 0, 0, 0, 0});
  for (InferJob* job : {&tiles, &mixed}) {
    std::vector<float> expected;
    double flops = 0;
    for (const int threads : {1, 2, 3, 8}) {
      auto device = cpu::makeDevice(graph, threads, nullptr);
      device->initialise(7);
      for (const bool again : {false, true}) {
        std::vector<float> sums(static_cast<size_t>(w) * h * 12, 0.f), weights(static_cast<size_t>(w) * h * 4, 0.f);
        job->pictures = {{picture.view, nullptr, sums.data(), weights.data()}};
        const InferReport report = device->infer(*job);
        check(report.batches == static_cast<int>(job->regions.size()), "every region is run once");
        sums.insert(sums.end(), weights.begin(), weights.end());
        if (expected.empty()) {
          expected = sums;
          flops = report.flops;
        }
        check(report.flops == flops && sums == expected,
              std::to_string(threads) + " threads" + (again ? ", once more" : ""));
      }
    }
  }
  auto device = deviceOf(graph);
  std::vector<float> sums(static_cast<size_t>(w) * h * 12, 0.f), weights(static_cast<size_t>(w) * h * 4, 0.f);
  mixed.pictures = {{picture.view, nullptr, sums.data(), weights.data()}};
  const int32_t cancelled = 1;
  mixed.cancel = tiles.cancel = &cancelled;
  tiles.pictures = mixed.pictures;
  for (const InferJob* job : {&tiles, &mixed}) {
    std::string code;
    try {
      device->infer(*job);
    } catch (const Error& error) {
      code = error.code;
    }
    check(code == "WBSR_ABORTED", "a cancelled job: " + code);
  }
  tiles.cancel = nullptr;
  check(device->infer(tiles).batches == static_cast<int>(tiles.regions.size()), "the next job");
}

// Rows that a canvas keeps move up, the rest is cleared; what is blended then adds to what was kept.
// Images of a batch run apart or together, as their number and that of the threads have it; the bits are those of one.
void batchesAgree() {
  const Graph graph = smallGraph();
  constexpr int kBatch = 5, kHeight = 9, kWidth = 11, kIn = 3 * kHeight * kWidth, kOut = 4 * kIn;
  std::vector<float> input(static_cast<size_t>(kBatch) * kIn);
  Random random{3};
  for (float& v : input) v = static_cast<float>(random.next());
  const int subnet = static_cast<int>(graph.subnets().size()) - 1;
  std::vector<float> single(static_cast<size_t>(kBatch) * kOut, NAN);
  const auto one = cpu::makeDevice(graph, 2, nullptr);
  one->initialise(7);
  for (int n = 0; n < kBatch; ++n)
    one->forward(subnet, &input[static_cast<size_t>(n) * kIn], &single[static_cast<size_t>(n) * kOut], 1, kHeight,
                 kWidth);
  for (const int threads : {1, 2, 3, 5, 8}) {
    const auto device = cpu::makeDevice(graph, threads, nullptr);
    device->initialise(7);
    std::vector<float> batch(single.size(), NAN);
    device->forward(subnet, input.data(), batch.data(), kBatch, kHeight, kWidth);
    check(std::memcmp(batch.data(), single.data(), batch.size() * sizeof(float)) == 0,
          "a batch of five on " + std::to_string(threads) + " threads");
  }
}

void canvasMoves() {
  const Graph graph = smallGraph();
  auto device = deviceOf(graph);
  const int w = 9, h = 8;
  const Pixels picture(Sample::U8, w, h, 3, 3);
  auto canvas = device->makeCanvas(w * 2, h * 2);
  check(canvas->bytes() >= w * 2 * h * 2 * 16, "a canvas says what it holds");
  canvas->move(0, 0, h * 2);
  InferJob job;
  job.pictures.push_back({picture.view, canvas.get(), nullptr, nullptr});
  job.regions.push_back({0, 1, 0, 0, w, h, 0, 0, w, h, 0, 0, 0, 0});
  device->infer(job);
  const size_t row = static_cast<size_t>(w) * 2 * 3;
  std::vector<float> before(row * h * 2), after(before.size());
  canvas->finish(0, h * 2, 3, nullptr, Sample::F32, before.data());
  for (int from : {0, 6}) {
    const int kept = 4, rows = h * 2 - 3;
    canvas->move(0, 0, h * 2);
    device->infer(job);
    canvas->move(from, kept, rows);
    canvas->finish(0, rows, 3, nullptr, Sample::F32, after.data());
    check(std::memcmp(after.data(), before.data() + row * from, row * kept * 4) == 0,
          "kept rows from " + std::to_string(from));
    bool clear = true;
    for (size_t i = row * kept; i < row * rows; ++i) clear = clear && after[i] == 0.f;
    check(clear, "rows behind the kept ones are cleared, from " + std::to_string(from));
  }
}

void routeAgrees() {
  const Graph graph = smallGraph();
  auto device = deviceOf(graph);
  for (const auto& [w, h, tile] : {std::tuple{1, 1, 16}, {37, 23, 8}, {32, 16, 16}, {5, 40, 7}}) {
    const Pixels picture(Sample::U8, w, h, 3, 11);
    const int columns = (w + tile - 1) / tile, rows = (h + tile - 1) / tile;
    std::vector<double> difficulties(static_cast<size_t>(columns * rows));
    std::vector<int32_t> classes(difficulties.size());
    RouteJob job{picture.view, {}, tile, {0.1, 0.13, 0.14}, difficulties.data(), classes.data()};
    device->route(job);
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x) {
        const size_t i = static_cast<size_t>(y * columns + x);
        const int32_t rect[4] = {x * tile, y * tile, std::min(tile, w - x * tile), std::min(tile, h - y * tile)};
        double vector[4], sum = 0;
        image::gradientVectors(picture.view, rect, 1, vector);
        for (double v : vector) sum += v * v;
        check(std::fabs(difficulties[i] - std::sqrt(sum)) < 1e-15, "difficulty");
        int expected = 1;
        for (double threshold : job.thresholds) expected += threshold < difficulties[i];
        check(classes[i] == expected, "class");
      }
  }
}

TrainJob stepOf(const std::vector<float>& lr, const std::vector<float>& hr, int batch, int size) {
  TrainJob job{};
  job.lr = lr.data();
  job.hr = hr.data();
  job.batch = batch;
  job.height = job.width = size;
  job.subnets = {0, 1};
  job.loss.element = ElementLoss::L2;
  job.learningRate = 1e-2f;
  job.beta1 = 0.9f;
  job.beta2 = 0.999f;
  job.epsilon = 1e-8f;
  job.emaDecay = 0.5f;
  return job;
}

std::vector<float> arenaOf(Device& device, const Graph& graph, Arena which) {
  std::vector<float> values(static_cast<size_t>(graph.parameterCount()));
  device.getArena(which, values.data());
  return values;
}

// A batch made from crops is the batch of assembleBatch, to the bit; and reports come by ticket, from any thread.
void cropsAgree() {
  const Graph graph = smallGraph();
  const Pixels first(Sample::U8, 30, 26, 3, 1), second(Sample::U8, 24, 24, 3, 2), small(Sample::U8, 15, 13, 3, 3),
      tiny(Sample::U8, 12, 12, 3, 4);
  for (bool lrFiles : {false, true}) {
    auto source = std::make_shared<BatchSource>();
    source->images = {first.view, second.view};
    if (lrFiles) source->lrImages = {small.view, tiny.view};
    source->crops = {{0, 14, 10, true, false, true}, {1, 0, 8, false, true, false}, {0, 0, 0, false, false, true}};
    const int patch = 16, size = 8;
    std::vector<float> lr(3 * 3 * size * size), hr(lr.size() * 4);
    image::assembleBatch({source->images, source->lrImages, source->crops, patch, 2}, lr.data(), hr.data());
    auto planes = deviceOf(graph), crops = deviceOf(graph);
    TrainJob plain = stepOf(lr, hr, 3, size), sourced = stepOf(lr, hr, 3, size);
    sourced.lr = sourced.hr = nullptr;
    sourced.source = source;
    const TrainReport a = planes->train(plain), b = crops->train(sourced);
    check(a.finite && a.parts == 1 && a.losses == b.losses && a.losses.size() == 2,
          "losses of a batch made from crops");
    const StepTicket one = crops->submit(sourced), two = crops->submit(sourced);
    TrainReport third, fourth;
    std::thread([&] { third = crops->wait(one), fourth = crops->wait(two); }).join();
    check(third.mean.loss == planes->train(plain).mean.loss && fourth.mean.loss == planes->train(plain).mean.loss,
          "reports by ticket");
    check(arenaOf(*planes, graph, Arena::Weights) == arenaOf(*crops, graph, Arena::Weights),
          "weights after batches made from crops");
    bool refused = false;
    try {
      crops->wait(one);
    } catch (const Error&) {
      refused = true;
    }
    check(refused, "a ticket is good once");
  }
}

void haltsAfterNonFinite() {
  const Graph graph = smallGraph();
  std::vector<float> lr(3 * 4 * 4, 0.5f), hr(lr.size() * 4, 0.25f), bad = hr;
  bad[5] = std::numeric_limits<float>::quiet_NaN();
  auto device = deviceOf(graph);
  check(device->train(stepOf(lr, hr, 1, 4)).finite, "a finite step");
  const auto weights = arenaOf(*device, graph, Arena::Weights), m = arenaOf(*device, graph, Arena::M),
             ema = arenaOf(*device, graph, Arena::Ema);
  const auto counts = device->steps();
  for (const std::vector<float>* target : {&bad, &hr, &hr}) {
    check(!device->train(stepOf(lr, *target, 1, 4)).finite, "a step that is not finite, or comes after one");
    check(arenaOf(*device, graph, Arena::Weights) == weights && arenaOf(*device, graph, Arena::M) == m &&
              arenaOf(*device, graph, Arena::Ema) == ema && device->steps() == counts,
          "nothing is updated");
  }
  device->setArena(Arena::Weights, weights.data());
  check(device->train(stepOf(lr, hr, 1, 4)).finite && arenaOf(*device, graph, Arena::Weights) != weights,
        "new weights: it goes on");
}

}  // namespace

int main() {
  try {
    const Graph graph = smallGraph();
    const DeviceFacts facts = deviceOf(graph)->facts();
    check(facts.kind == "cpu" && facts.precision == "fp32" && !facts.regular && !facts.pipelined &&
              !facts.details.empty(),
          "facts");
    picturesAgree();
    threadsAgree();
    batchesAgree();
    canvasMoves();
    routeAgrees();
    cropsAgree();
    haltsAfterNonFinite();
    test::checkTrainingHalves(
        graph, [&] { return deviceOf(graph); }, 1e-5, "cpu");
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return test::finish();
}

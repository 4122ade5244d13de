// Checks training on this device: SRResNet's supernet from fresh weights on the photographs, sandwich steps with
// BDLoss, and then the full network on a photograph that was held out, against bicubic. Arguments: key=value words as
// a contestant's: photographs=DIR steps=1000 batch=16 patch=128 [widths= depths= held=NAME size=N]; size: of the held-out
// photograph only that many rows and columns. One line of JSON;
// exit status 1 unless bicubic is beaten.
#include <algorithm>
#include <deque>
#include <memory>

#include "commands.h"
#include "core/device.h"
#include "image/image.h"
#include "files.h"
#include "loss_setup.h"
#include "support/networks.h"
#include "timing.h"

using namespace wbsr;
using namespace wbsr::bench;

namespace {

// Tiles that overlap enough for the largest receptive field, each kept without blending.
std::vector<Region> regionsOf(const Graph& graph, int width, int height, int tile) {
  const int subnet = static_cast<int>(graph.subnets().size()) - 1, halo = graph.subnets().back().receptiveField;
  std::vector<Region> regions;
  for (int y = 0; y < height; y += tile)
    for (int x = 0; x < width; x += tile) {
      const int right = std::min(width, x + tile), bottom = std::min(height, y + tile);
      const int l = std::max(0, x - halo), t = std::max(0, y - halo);
      const int r = std::min(width, right + halo), b = std::min(height, bottom + halo);
      regions.push_back({0, subnet, l, t, r - l, b - t, x, y, right - x, bottom - y, 0, 0, 0, 0});
    }
  return regions;
}

std::vector<uint8_t> upscaled(Device& device, const Graph& graph, const View& picture, int tile) {
  const int scale = graph.scale();
  const auto canvas = device.makeCanvas(int64_t{picture.width} * scale, int64_t{picture.height} * scale);
  InferJob job;
  job.pictures.push_back({picture, canvas.get(), nullptr, nullptr});
  job.regions = regionsOf(graph, picture.width, picture.height, tile);
  job.maxBatchPixels = 1 << 20;
  device.infer(job);
  std::vector<uint8_t> out(product(3, picture.width * scale, picture.height * scale));
  canvas->finish(0, int64_t{picture.height} * scale, 3, nullptr, Sample::U8, out.data());
  return out;
}

int train(const Request& request) {
  std::vector<Photograph> pictures = readPhotographs(request.text("photographs"));
  const std::string heldName = request.text("held", "march-pastoral");
  const auto held =
      std::find_if(pictures.begin(), pictures.end(), [&](const Photograph& p) { return p.name == heldName; });
  if (held == pictures.end()) throw Error("WBSR_NOT_FOUND", "There is no photograph " + heldName);
  const Photograph test = *held;
  pictures.erase(held);

  const Graph graph = srresnet(4, request.has("widths") ? request.list("widths") : std::vector<int>{32, 48, 64},
                               request.has("depths") ? request.list("depths") : std::vector<int>{4, 8, 16});
  const auto device = cuda::makeDevice(graph, optionsOf(request));
  device->initialise(1);
  const int steps = request.number("steps", 1000), batch = request.number("batch", 16),
            patch = request.number("patch", 128);
  const int last = static_cast<int>(graph.subnets().size()) - 1;

  TrainJob job{};
  job.batch = batch;
  job.height = job.width = patch / graph.scale();
  job.loss = defaultLoss(pictures);
  job.beta1 = 0.9f;
  job.beta2 = 0.999f;
  job.epsilon = 1e-8f;
  job.emaDecay = 0.99f;  // a short run
  Uniform random{{11}};
  std::vector<double> losses;
  std::deque<StepTicket> tickets;
  const auto take = [&] {
    const TrainReport report = device->wait(tickets.front());
    tickets.pop_front();
    if (!report.finite)
      throw Error("WBSR_NON_FINITE", "the loss of step " + std::to_string(losses.size() + 1) + " is not finite");
    losses.push_back(report.mean.data);
  };
  const double start = now();
  for (int step = 0; step < steps; ++step) {
    const auto source = std::make_shared<BatchSource>();
    for (const Photograph& p : pictures) source->images.push_back(p.view());
    for (int n = 0; n < batch; ++n) {
      Crop crop;
      crop.image = static_cast<int>(random.next() * static_cast<float>(pictures.size()));
      const Photograph& p = pictures[static_cast<size_t>(crop.image)];
      crop.x = static_cast<int>(random.next() * static_cast<float>(p.width - patch + 1));
      crop.y = static_cast<int>(random.next() * static_cast<float>(p.height - patch + 1));
      crop.flipX = random.next() < 0.5f;
      crop.flipY = random.next() < 0.5f;
      crop.transpose = random.next() < 0.5f;
      source->crops.push_back(crop);
    }
    job.source = source;
    job.subnets = {last};
    if (last > 0) job.subnets.push_back(0);
    if (last > 1) job.subnets.push_back(1 + static_cast<int>(random.next() * static_cast<float>(last - 1)));
    job.learningRate = 1e-7f + (5e-4f - 1e-7f) * 0.5f *
                                   (1 + std::cos(3.14159265f * static_cast<float>(step) / static_cast<float>(steps)));
    if (tickets.size() == 2) take();
    tickets.push_back(device->submit(job));
  }
  while (!tickets.empty()) take();
  const double seconds = now() - start;

  std::vector<float> ema(static_cast<size_t>(graph.parameterCount()));
  device->getArena(Arena::Ema, ema.data());
  device->setArena(Arena::Weights, ema.data());
  const int scale = graph.scale(), most = request.number("size", 1 << 20);
  const int width = std::min(most, test.width) / scale, height = std::min(most, test.height) / scale;
  std::vector<uint8_t> whole(product(3, width * scale, height * scale)), small(product(3, width, height)),
      bicubic(whole.size());
  for (int y = 0; y < height * scale; ++y)
    std::copy_n(test.pixels.data() + product(3, y, test.width), width * scale * 3,
                whole.data() + product(3, y, width * scale));
  image::resizeBicubic({whole.data(), Sample::U8, width * scale, height * scale, 3}, small.data(), width, height,
                       image::Border::Symmetric);
  const View lr{small.data(), Sample::U8, width, height, 3};
  image::resizeBicubic(lr, bicubic.data(), width * scale, height * scale, image::Border::Symmetric);
  const std::vector<uint8_t> sr = upscaled(*device, graph, lr, 128);
  const auto psnr = [&](const std::vector<uint8_t>& picture) {
    return image::psnr(picture.data(), whole.data(), width * scale, height * scale, 3, false, scale);
  };
  const double ours = psnr(sr), theirs = psnr(bicubic);

  std::vector<double> curve;  // means of twenty runs of steps
  for (size_t i = 0, part = std::max<size_t>(1, losses.size() / 20); i + part <= losses.size(); i += part) {
    double sum = 0;
    for (size_t n = i; n < i + part; ++n) sum += losses[n];
    curve.push_back(sum / static_cast<double>(part));
  }
  Json answer;
  answer.boolean("ok", ours > theirs)
      .text("device", device->facts().name)
      .text("held", test.name)
      .number("steps", steps)
      .number("batch", batch)
      .number("patch", patch)
      .number("psnr", ours)
      .number("bicubic", theirs)
      .number("seconds", seconds)
      .number("secondsPerStep", seconds / steps)
      .numbers("dataTerm", curve)
      .number("memory", static_cast<double>(device->memory()));
  std::printf("%s\n", answer.str().c_str());
  return ours > theirs ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  begin();
  std::string words;
  for (int i = 1; i < count; ++i) words += std::string(arguments[i]) + "\t";
  try {
    return train(Request(words));
  } catch (const Error& error) {
    std::printf("%s\n", Json().text("error", error.code + ": " + error.what()).str().c_str());
  } catch (const std::exception& error) {
    std::printf("%s\n", Json().text("error", error.what()).str().c_str());
  }
  return 1;
}

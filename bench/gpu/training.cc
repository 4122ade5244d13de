// The training step as trainSupernet runs it: uint8 crops in, gradients of three subnets, one Adam and EMA step. Steps are
// submitted two at a time and timed by the wall clock over a run of them.
//   do=load widths=32,48,64 depths=4,8,16 folder=DIR [photographs=DIR]   writes DIR/weights.f32; answers with the loss
//   do=batch batch=16 patch=128 folder=DIR                               writes DIR/lr.f32 and hr.f32, resets weights and moments
//   do=step steps=20 subnets=0,4,8
#include <deque>
#include <memory>

#include "commands.h"
#include "core/device.h"
#include "image/image.h"
#include "files.h"
#include "loss_setup.h"
#include "support/networks.h"
#include "timing.h"

namespace wbsr::bench {
namespace {

class Training {
 public:
  Json load(const Request& request) {
    device_.reset();
    graph_ = std::make_unique<Graph>(srresnet(4, request.list("widths"), request.list("depths")));
    weights_ = timingWeights(*graph_, 1);
    writeWeights(*graph_, weights_, request.text("folder") + "/weights");
    pictures_.clear();
    if (request.has("photographs"))
      pictures_ = readPhotographs(request.text("photographs"));
    else
      for (uint64_t seed = 1; seed <= 4; ++seed) pictures_.push_back(syntheticPicture(1024, 768, seed));
    loss_ = defaultLoss(pictures_);
    device_ = cuda::makeDevice(*graph_, optionsOf(request));
    Json answer;
    answer.raw("loss", lossJson(loss_).str())
        .text("device", device_->facts().name)
        .text("details", device_->facts().details);
    std::string subnets;
    for (const SubnetInfo& s : graph_->subnets())
      subnets += (subnets.empty() ? "[[" : ",[") + std::to_string(s.width) + "," + std::to_string(s.depth) + "]";
    return answer.raw("subnets", subnets + "]");
  }

  Json batch(const Request& request) {
    const int batch = request.number("batch"), patch = request.number("patch"), scale = graph_->scale();
    auto source = std::make_shared<BatchSource>();
    for (const Photograph& p : pictures_) source->images.push_back(p.view());
    Uniform random{{9}};
    for (int n = 0; n < batch; ++n) {
      Crop crop;
      crop.image = n % static_cast<int>(pictures_.size());
      const Photograph& p = pictures_[static_cast<size_t>(crop.image)];
      crop.x = static_cast<int>(random.next() * static_cast<float>(p.width - patch));
      crop.y = static_cast<int>(random.next() * static_cast<float>(p.height - patch));
      crop.flipX = random.next() < 0.5f;
      crop.flipY = random.next() < 0.5f;
      crop.transpose = random.next() < 0.5f;
      source->crops.push_back(crop);
    }
    const size_t values = product(3, batch, patch, patch);
    std::vector<float> hr(values), lr(values / static_cast<size_t>(scale * scale));
    image::assembleBatch({source->images, {}, source->crops, patch, scale}, lr.data(), hr.data());
    writeFile(request.text("folder") + "/lr.f32", lr);
    writeFile(request.text("folder") + "/hr.f32", hr);
    source_ = source;
    patch_ = patch;
    device_->initialise(1);  // clears the moments and their counts
    device_->setArena(Arena::Weights, weights_.data());
    return {};
  }

  Json step(const Request& request) {
    TrainJob job{};
    job.source = source_;
    job.batch = static_cast<int>(source_->crops.size());
    job.height = job.width = patch_ / graph_->scale();
    job.subnets = request.list("subnets");
    job.loss = loss_;
    job.learningRate = 2e-4f;
    job.beta1 = 0.9f;
    job.beta2 = 0.999f;
    job.epsilon = 1e-8f;
    job.emaDecay = 0.999f;
    const int steps = request.number("steps");
    std::vector<double> losses;
    std::deque<StepTicket> tickets;
    int parts = 1;
    const auto take = [&] {
      const TrainReport report = device_->wait(tickets.front());
      tickets.pop_front();
      if (!report.finite) throw Error("WBSR_NON_FINITE", "the loss is not finite");
      losses.push_back(report.mean.loss);
      parts = std::max(parts, report.parts);
    };
    const double start = now();
    for (int i = 0; i < steps; ++i) {
      if (tickets.size() == 2) take();
      tickets.push_back(device_->submit(job));
    }
    while (!tickets.empty()) take();
    const double seconds = (now() - start) / steps;
    Json answer;
    return answer.number("seconds", seconds)
        .numbers("losses", losses)
        .number("parts", parts)
        .number("memory", static_cast<double>(device_->memory()));
  }

 private:
  std::unique_ptr<Graph> graph_;
  std::vector<float> weights_;
  std::vector<Photograph> pictures_;
  LossSpec loss_;
  std::shared_ptr<const BatchSource> source_;
  int patch_ = 0;
  std::unique_ptr<Device> device_;  // last: it goes first
};

}  // namespace

Commands trainingCommands() {
  const auto self = std::make_shared<Training>();
  return {{"load", [=](const Request& r) { return self->load(r); }},
          {"batch", [=](const Request& r) { return self->batch(r); }},
          {"step", [=](const Request& r) { return self->step(r); }}};
}

}  // namespace wbsr::bench

// Whole pictures from uint8 rows to uint8 rows in host memory: the calibrated router's regions against the full network's.
// lib/infer chooses the regions (regions.mjs writes the file).
//   do=load regions=FILE picture=FILE
//   do=run way=calibrated|tiled|whole repeats=R [save=FILE]
//
// The file of regions: `picture W H`, `widths ...`, `depths ...`, `scale S`, `tile T`, `batch maxBatchPixels`, `thresholds ...`,
// then for every way `way NAME K map...` (K = 0: the router is not asked) and its groups: `group top bottom finish N` and N
// lines of subnet x y w h keepX keepY keepW keepH rampL rampT rampR rampB, rows counted from the group's top. `finish`: the
// rows of the picture before this one are complete after the group.
#include <deque>
#include <memory>

#include "commands.h"
#include "core/device.h"
#include "files.h"
#include "support/networks.h"
#include "timing.h"

namespace wbsr::bench {
namespace {

struct RegionGroup {
  int top, bottom, finish;
  std::vector<Region> regions;
};

struct Way {
  std::vector<int32_t> map;
  std::vector<RegionGroup> groups;
};

class Routed {
 public:
  Json load(const Request& request) {
    canvas_.reset();
    device_.reset();
    readRegions(request.text("regions"));
    pixels_ = readFile<uint8_t>(request.text("picture"), product(3, width_, height_));
    graph_ = std::make_unique<Graph>(srresnet(scale_, widths_, depths_));
    device_ = cuda::makeDevice(*graph_, optionsOf(request));
    device_->setArena(Arena::Weights, timingWeights(*graph_, 1).data());
    result_.resize(product(pixels_.size(), scale_, scale_));
    Json answer;
    return answer.text("device", device_->facts().name);
  }

  Json run(const Request& request) {
    if (!device_) throw Error("WBSR_INVALID_OPTION", "do=load comes first");
    const auto found = ways_.find(request.text("way"));
    if (found == ways_.end())
      throw Error("WBSR_INVALID_OPTION", "The file of regions has no way " + request.text("way"));
    std::vector<double> seconds, network, routing;
    double flops = 0, batches = 0;
    for (int i = -2; i < request.number("repeats", 3); ++i) {  // plans, then the graph, then what counts
      Times times;
      const double start = now();
      upscale(found->second, times);
      if (i < 0) continue;
      seconds.push_back(now() - start);
      network.push_back(times.network);
      routing.push_back(times.routing);
      flops = times.flops;
      batches = times.batches;
    }
    if (request.has("save")) writeFile(request.text("save"), result_);
    Json answer;
    return answer.numbers("seconds", seconds)
        .numbers("network", network)
        .numbers("routing", routing)
        .number("flops", flops)
        .number("batches", batches)
        .number("memory", static_cast<double>(device_->memory()));
  }

 private:
  struct Times {
    double network = 0, routing = 0, flops = 0, batches = 0;
  };

  template <typename T>
  static std::vector<T> rest(std::istringstream& words) {
    std::vector<T> out;
    for (T v; words >> v;) out.push_back(v);
    return out;
  }

  void readRegions(const std::string& file) {
    std::ifstream in(file);
    if (!in)
      throw Error("WBSR_NOT_FOUND", "There is no file of regions " + file + ": run bench/gpu/carry.sh where Node is");
    ways_.clear();
    Way* way = nullptr;
    for (std::string line; std::getline(in, line);) {
      std::istringstream words(line);
      std::string key;
      words >> key;
      bool ok = true;
      if (key == "picture")
        ok = static_cast<bool>(words >> width_ >> height_);
      else if (key == "widths")
        widths_ = rest<int>(words);
      else if (key == "depths")
        depths_ = rest<int>(words);
      else if (key == "scale")
        ok = static_cast<bool>(words >> scale_);
      else if (key == "tile")
        ok = static_cast<bool>(words >> tile_);
      else if (key == "batch")
        ok = static_cast<bool>(words >> maxBatchPixels_);
      else if (key == "thresholds")
        thresholds_ = rest<double>(words);
      else if (key == "way") {
        std::string name;
        int classes = 0;
        ok = static_cast<bool>(words >> name >> classes);
        way = &ways_[name];
        way->map = rest<int32_t>(words);
        ok = ok && way->map.size() == static_cast<size_t>(classes);
      } else if (key == "group" && way) {
        RegionGroup group{};
        size_t count = 0;
        ok = static_cast<bool>(words >> group.top >> group.bottom >> group.finish >> count);
        for (size_t i = 0; ok && i < count; ++i) {
          Region r{};
          ok = static_cast<bool>(in >> r.subnet >> r.x >> r.y >> r.width >> r.height >> r.keepX >> r.keepY >>
                                 r.keepWidth >> r.keepHeight >> r.rampLeft >> r.rampTop >> r.rampRight >> r.rampBottom);
          group.regions.push_back(r);
        }
        std::getline(in, line);  // ends the last region's line
        way->groups.push_back(std::move(group));
      } else
        ok = key.empty();
      if (!ok) throw Error("WBSR_IO", "Cannot read " + file + ": " + line);
    }
    if (ways_.empty() || width_ < 1 || height_ < 1)
      throw Error("WBSR_IO", "The file of regions " + file + " is not complete");
  }

  // As PicturePass does it: a canvas that moves from group to group.
  void upscale(const Way& way, Times& times) {
    if (!way.map.empty()) {
      const double start = now();
      const size_t tiles = product((width_ + tile_ - 1) / tile_, (height_ + tile_ - 1) / tile_);
      std::vector<double> difficulties(tiles);
      std::vector<int32_t> classes(tiles);
      RouteJob job;
      job.pixels = {pixels_.data(), Sample::U8, width_, height_, 3};
      job.tile = tile_;
      job.thresholds = thresholds_;
      job.difficulties = difficulties.data();
      job.classes = classes.data();
      device_->route(job);
      times.routing = now() - start;
    }
    int64_t most = 0;
    for (const RegionGroup& group : way.groups) most = std::max<int64_t>(most, group.bottom - group.top);
    if (!canvas_ || canvasRows_ < most * scale_) {
      canvasRows_ = most * scale_;
      canvas_ = device_->makeCanvas(int64_t{width_} * scale_, canvasRows_);
    }
    int top = 0, bottom = 0, finished = 0;
    // Rows on their way, and networks at work, while the next group is prepared: in two parts, as the addon does it.
    std::deque<int64_t> tickets;
    std::deque<std::pair<int64_t, InferReport>> running;
    const auto waitForNetwork = [&] {
      auto& [ticket, report] = running.front();
      device_->waitInfer(ticket, report);
      times.network += report.networkSeconds;
      times.flops += report.flops;
      times.batches += report.batches;
      running.pop_front();
    };
    for (const RegionGroup& group : way.groups) {
      const int64_t kept = std::max(0, std::min(bottom, group.bottom) - group.top);
      canvas_->move(kept > 0 ? int64_t{group.top - top} * scale_ : 0, kept * scale_,
                    int64_t{group.bottom - group.top} * scale_);
      top = group.top;
      bottom = group.bottom;
      InferJob job;
      const uint8_t* band = pixels_.data() + product(3, width_, top);
      job.pictures.push_back({View{band, Sample::U8, width_, bottom - top, 3}, canvas_.get(), nullptr, nullptr});
      job.regions = group.regions;
      job.maxBatchPixels = maxBatchPixels_;
      if (running.size() == 2) waitForNetwork();
      running.emplace_back(0, InferReport{});
      running.back().first = device_->submitInfer(job, running.back().second);
      uint8_t* out = result_.data() + product(3, width_ * scale_, finished * scale_);
      const int64_t first = int64_t{finished - top} * scale_, rows = int64_t{group.finish - finished} * scale_;
      tickets.push_back(canvas_->submitFinish(first, rows, 3, nullptr, Sample::U8, out));
      finished = group.finish;
      if (tickets.size() == 2) {
        canvas_->waitFinish(tickets.front());
        tickets.pop_front();
      }
    }
    while (!running.empty()) waitForNetwork();
    for (int64_t ticket : tickets) canvas_->waitFinish(ticket);
    if (finished != height_) throw Error("WBSR_INVALID_OPTION", "The regions leave rows unfinished");
  }

  int width_ = 0, height_ = 0, scale_ = 4, tile_ = 64;
  std::vector<int> widths_, depths_;
  std::vector<double> thresholds_;
  int64_t maxBatchPixels_ = 1 << 19;
  std::map<std::string, Way> ways_;
  std::vector<uint8_t> pixels_, result_;
  std::unique_ptr<Graph> graph_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Canvas> canvas_;
  int64_t canvasRows_ = 0;
};

}  // namespace

Commands routedCommands() {
  const auto self = std::make_shared<Routed>();
  return {{"load", [=](const Request& r) { return self->load(r); }},
          {"run", [=](const Request& r) { return self->run(r); }}};
}

}  // namespace wbsr::bench

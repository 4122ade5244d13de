// Inference over regions: uploads pictures, then gathers, runs and blends tiles of one subnet and shape in batches.
#include <algorithm>

#include "core/clock.h"
#include "core/error.h"
#include "core/region_flops.h"
#include "cuda/state.h"
#include "cuda/tiles.h"

namespace wbsr::cuda {

// Regions of one subnet and size. The tail covers the largest part that any of them needs, so that all have one shape.
struct State::Group {
  int subnet, height, width;
  int coveredHeight = 0, coveredWidth = 0;
  std::vector<const Region*> regions;  // by picture
  size_t firstTile = 0;                // of regions[0] in the job's tiles and crop offsets
  int maxWidth = 0, maxHeight = 0;     // of the kept parts, SR pixels
};

namespace {

Keep keptPart(const Region& r) { return {r.keepX - r.x, r.keepY - r.y, r.keepWidth, r.keepHeight}; }

}  // namespace

int batchSize(int64_t wanted) {
  int size = 1;
  while (int64_t{size} * 4 <= std::min<int64_t>(wanted, kMostTiles)) size *= 4;
  return size;
}

size_t bytesOf(const View& v) {
  return sampleBytes(v.type) * static_cast<size_t>(v.channels) * static_cast<size_t>(v.width) *
         static_cast<size_t>(v.height);
}

// Where each picture of the job lies: those that are kept for other jobs, the others in the job's own memory.
std::vector<const uint8_t*> State::uploadPictures(const InferJob& job, Running& running) {
  std::vector<const uint8_t*> pictures;
  size_t total = 0;
  const auto padded = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
  for (const Picture& p : job.pictures) {
    pictures.push_back(uploads.picture(p.pixels, p.origin));
    if (!pictures.back()) total += padded(bytesOf(p.pixels));
  }
  running.pictures.reserve(total + 256);
  uint8_t* next = running.pictures.as<uint8_t>();
  for (size_t i = 0; i < pictures.size(); ++i) {
    if (pictures[i]) continue;
    const View& v = job.pictures[i].pixels;
    uploads.transfer.upload(next, v.data, bytesOf(v), uploads.stream);
    pictures[i] = next;
    next += padded(bytesOf(v));
  }
  return pictures;
}

void State::runBatch(const InferJob& job, const Group& group, size_t first, int batch, const Running& running,
                     const std::vector<const uint8_t*>& pictures, InferReport& report,
                     const std::vector<CudaCanvas*>& canvases) {
  const int scale = graph.scale();
  const cudaStream_t stream = context->stream;
  const SubnetInfo& info = graph.subnets()[static_cast<size_t>(group.subnet)];
  Executable& program =
      executable(group.subnet, batch, group.height, group.width, group.coveredHeight, group.coveredWidth, false);
  program.reserve();

  const TileJob* tiles = running.tiles.as<TileJob>() + group.firstTile + first;
  // Copied to the addresses that the captured graph reads.
  WBSR_CUDA(cudaMemcpyAsync(context->cropOffsets.as(), running.crops.as<int2>() + group.firstTile + first,
                            sizeof(int2) * static_cast<size_t>(batch), cudaMemcpyDeviceToDevice, stream));
  const int64_t inPixels = int64_t{group.height} * group.width;
  const int64_t outPixels = int64_t{group.coveredHeight} * group.coveredWidth * scale * scale;
  // Regions of one picture are adjacent: one launch for each run of them.
  const auto eachPicture = [&](auto&& work) {
    for (int n = 0; n < batch;) {
      const int picture = group.regions[first + static_cast<size_t>(n)]->picture;
      int end = n + 1;
      while (end < batch && group.regions[first + static_cast<size_t>(end)]->picture == picture) ++end;
      work(picture, n, end - n);
      n = end;
    }
  };
  eachPicture([&](int picture, int n, int count) {
    const View& v = job.pictures[static_cast<size_t>(picture)].pixels;
    const DevicePicture source{pictures[static_cast<size_t>(picture)], v.type, v.width, v.height, v.channels};
    withType(context->half, [&](auto type) {
      using T = decltype(type);
      T* copy = static_cast<T*>(program.inputCopy());
      gatherTiles(source, tiles + n, count, group.height, group.width, program.inputThin() + n * inPixels * 8,
                  copy ? copy + n * inPixels * 8 : nullptr, stream);
    });
  });
  program.run();
  eachPicture([&](int picture, int n, int count) {
    CudaCanvas& canvas = *canvases[static_cast<size_t>(picture)];
    blendTiles(program.outputThin() + n * outPixels * 8, group.coveredHeight * scale, group.coveredWidth * scale,
               tiles + n, count, group.maxWidth, group.maxHeight, canvas.sums(), canvas.weights(),
               static_cast<int>(canvas.width()), stream);
  });
  ++report.batches;
  report.flops += batch * regionFlops(info, inPixels, group.coveredWidth, group.coveredHeight);
}

// Source and target of every region, uploaded once for the whole job, so that no batch waits for them.
void State::uploadTiles(std::vector<Group*> groups, Running& running) {
  const int scale = graph.scale();
  std::vector<TileJob> tiles;
  std::vector<int2> crops;
  for (Group* group : groups) {
    const SubnetInfo& info = graph.subnets()[static_cast<size_t>(group->subnet)];
    group->firstTile = tiles.size();
    for (const Region* region : group->regions) {
      const Region& r = *region;
      const Keep covered = coveredBy(graph, info, r.height, r.width, keptPart(r));
      const int left = std::min(covered.x, r.width - group->coveredWidth),
                top = std::min(covered.y, r.height - group->coveredHeight);
      crops.push_back(make_int2(left, top));
      tiles.push_back({r.x, r.y, (r.keepX - r.x - left) * scale, (r.keepY - r.y - top) * scale, r.keepWidth * scale,
                       r.keepHeight * scale, r.keepX * scale, r.keepY * scale, r.rampLeft * scale, r.rampTop * scale,
                       r.rampRight * scale, r.rampBottom * scale});
      group->maxWidth = std::max(group->maxWidth, tiles.back().width);
      group->maxHeight = std::max(group->maxHeight, tiles.back().height);
    }
  }
  running.tiles.reserve(sizeof(TileJob) * tiles.size());
  running.crops.reserve(sizeof(int2) * crops.size());
  uploads.transfer.upload(running.tiles.as(), tiles.data(), sizeof(TileJob) * tiles.size(), uploads.stream);
  uploads.transfer.upload(running.crops.as(), crops.data(), sizeof(int2) * crops.size(), uploads.stream);
}

std::vector<CudaCanvas*> State::canvasesOf(const InferJob& job) const {
  std::vector<CudaCanvas*> canvases;
  for (const Picture& p : job.pictures) {
    CudaCanvas* ours = dynamic_cast<CudaCanvas*>(p.canvas);
    if (!ours || ours->owner() != this || ours->width() != int64_t{p.pixels.width} * graph.scale() ||
        ours->rows() < int64_t{p.pixels.height} * graph.scale())
      throw invalidOption("canvas", "a canvas of this model, as wide as the picture and at least as high",
                          "one of another model or size");
    canvases.push_back(ours);
  }
  return canvases;
}

void State::runGroups(const InferJob& job, const std::vector<Group*>& groups, const Running& running,
                      const std::vector<const uint8_t*>& pictures, InferReport& report,
                      const std::vector<CudaCanvas*>& canvases) {
  for (const Group* which : groups) {
    const Group& group = *which;
    int64_t most = std::max<int64_t>(1, job.maxBatchPixels / (int64_t{group.height} * group.width));
    for (size_t first = 0; first < group.regions.size();) {
      if (cancelled(job.cancel)) throw Error("WBSR_ABORTED", "the job was cancelled");
      const int batch = batchSize(std::min<int64_t>(most, static_cast<int64_t>(group.regions.size() - first)));
      try {
        runBatch(job, group, first, batch, running, pictures, report, canvases);
        first += static_cast<size_t>(batch);
      } catch (const Error& error) {
        // No tile of this batch has reached a canvas yet, because memory is allocated before the first launch.
        if (error.code != "WBSR_OUT_OF_MEMORY") throw;
        trim();
        if (batch == 1)
          throw Error("WBSR_OUT_OF_MEMORY", "Not even one region of " + std::to_string(group.width) + "x" +
                                                std::to_string(group.height) +
                                                " LR pixels fits into the memory of the CUDA device: " + error.what());
        most = batch / 2;
        ++report.halvings;
      }
    }
  }
}

int64_t State::submitInfer(const InferJob& job, InferReport& report) {
  if (std::any_of(job.pictures.begin(), job.pictures.end(), [](const Picture& p) { return !p.canvas; })) {
    report = infer(job);
    return -1;
  }
  const int64_t ticket = turns_.next();  // waits for the job before the last one
  guard([&] {
    const double start = now();
    const std::vector<CudaCanvas*> canvases = canvasesOf(job);
    std::map<std::tuple<int, int, int>, Group> groups;
    for (const Region& r : job.regions) {
      Group& group =
          groups.try_emplace({r.subnet, r.height, r.width}, Group{r.subnet, r.height, r.width, 0, 0, {}, 0, 0, 0})
              .first->second;
      const Keep covered =
          coveredBy(graph, graph.subnets()[static_cast<size_t>(r.subnet)], r.height, r.width, keptPart(r));
      group.coveredHeight = std::max(group.coveredHeight, covered.height);
      group.coveredWidth = std::max(group.coveredWidth, covered.width);
      group.regions.push_back(&r);
    }
    std::vector<Group*> ordered;
    for (auto& [key, group] : groups) {
      std::stable_sort(group.regions.begin(), group.regions.end(),
                       [](const Region* a, const Region* b) { return a->picture < b->picture; });
      ordered.push_back(&group);
    }
    Running& running = running_[ticket % 2];
    try {
      uploadTiles(ordered, running);
      const std::vector<const uint8_t*> pictures = uploadPictures(job, running);
      uploads.handOver(context->stream);
      running.begun.record(context->stream);
      runGroups(job, ordered, running, pictures, report, canvases);
      running.ended.record(context->stream);
      uploads.giveBack(context->stream);
    } catch (const Error&) {
      // No caller waits for this job any more, and its canvases and memory may be freed or used by the next.
      cudaStreamSynchronize(uploads.stream);
      cudaStreamSynchronize(context->stream);
      uploads.giveBack();
      throw;
    }
    report.otherSeconds = now() - start;
    turns_.take(ticket);
  });
  return ticket;
}

void State::waitInfer(int64_t ticket, InferReport& report) {
  if (ticket < 0) return;
  const Running& running = running_[ticket % 2];
  try {
    guard([&] {
      running.ended.synchronise();
      report.networkSeconds = running.ended.secondsSince(running.begun);
    });
  } catch (...) {
    turns_.give(ticket);
    throw;
  }
  turns_.give(ticket);
}

InferReport State::infer(const InferJob& job) {
  const double start = now();
  const int64_t area = int64_t{graph.scale()} * graph.scale();
  InferReport report;
  InferJob whole = job;
  std::vector<std::unique_ptr<Canvas>> own;
  for (Picture& p : whole.pictures) {
    if (p.canvas) continue;
    own.push_back(makeCanvas(int64_t{p.pixels.width} * graph.scale(), int64_t{p.pixels.height} * graph.scale()));
    p.canvas = own.back().get();
  }
  waitInfer(submitInfer(whole, report), report);
  // The sums are added to the host arrays.
  guard([&] {
    size_t next = 0;
    for (const Picture& p : job.pictures) {
      if (p.canvas) continue;
      const CudaCanvas& canvas = static_cast<const CudaCanvas&>(*own[next++]);
      const int64_t count = int64_t{p.pixels.width} * p.pixels.height * area;
      grow(planar_, sizeof(float) * static_cast<size_t>(count) * 4, context->stream);
      float* sums = planar_.as<float>();
      float* weights = sums + count * 3;
      sumsToFloat(canvas.sums(), canvas.weights(), sums, weights, count, context->stream);
      std::vector<float> values(static_cast<size_t>(count) * 4);
      transfer.download(values.data(), sums, sizeof(float) * values.size(), context->stream);
      for (int64_t i = 0; i < count * 3; ++i) p.sum[i] += values[static_cast<size_t>(i)];
      for (int64_t i = 0; i < count; ++i) p.weight[i] += values[static_cast<size_t>(count * 3 + i)];
    }
  });
  report.otherSeconds = std::max(0.0, now() - start - report.networkSeconds);
  return report;
}

}  // namespace wbsr::cuda

// Compiled programs, failures, routing and plain forward passes. Inference over regions: inference.cc.
#include "cuda/state.h"

#include <algorithm>

#include "core/error.h"
#include "cuda/kernels/formats.h"
#include "cuda/registry.h"
#include "cuda/router.h"

namespace wbsr::cuda {

State::State(const wbsr::Graph& g, const DeviceOptions& o)
    : graph(g), options(o), context(std::make_unique<Context>(graph, options)) {}

bool State::makeCurrent() const {
  WBSR_CUDA(cudaSetDevice(options.index));
  return true;
}

State::~State() {
  cudaSetDevice(options.index);
  // Running work uses this memory. cudaDeviceSynchronize instead would end the captures of other models.
  if (context) cudaStreamSynchronize(context->stream);
  cudaStreamSynchronize(uploads.stream);
  cudaStreamSynchronize(downloads.stream);
}

void State::guard(const std::function<void()>& work) {
  {
    std::lock_guard<std::mutex> lock(failureMutex_);
    if (!failure_.empty())
      throw Error("WBSR_DEVICE_FAILED",
                  "The CUDA device failed before and this model cannot be used any more: " + failure_);
  }
  try {
    WBSR_CUDA(cudaSetDevice(options.index));
    work();
  } catch (const Error& error) {
    if (error.code != "WBSR_DEVICE_FAILED") throw;
    std::string text = error.what();
    // After an illegal access, for example, CUDA is unusable in the whole process. Any stream tells; this one is never
    // captured, whereas a query would end a capture of the context's stream by another thread.
    if (context) {
      const cudaError_t state = cudaStreamQuery(downloads.stream);
      if (state != cudaSuccess && state != cudaErrorNotReady)
        text += "; CUDA cannot be used in this process any more, restart it";
      retireConvPlans(context->plans);
    }
    cudaGetLastError();
    std::lock_guard<std::mutex> lock(failureMutex_);
    failure_ = text;
    throw Error("WBSR_DEVICE_FAILED", text);
  }
}

Executable& State::executable(int subnet, int batch, int height, int width, int coveredHeight, int coveredWidth,
                              bool training) {
  constexpr size_t kMost = 256;  // lists of launches and their graphs; cuDNN's plans have a cache of their own
  const Key key{subnet, batch, height, width, coveredHeight, coveredWidth, training};
  auto found = cache_.find(key);
  if (found == cache_.end()) {
    if (cache_.size() >= kMost) {
      context->stream.synchronise();
      cache_.erase(std::min_element(cache_.begin(), cache_.end(),
                                    [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    }
    const SubnetInfo& info = graph.subnets()[static_cast<size_t>(subnet)];
    // The position of the tail's part is an argument of the run, per image; the program depends on its size only.
    Program program = lowerCovered(graph, info, batch, height, width, {0, 0, coveredWidth, coveredHeight});
    fuse(program, supports, training);
    if (training) differentiate(program);
    found = cache_.emplace(key, Cached{std::make_unique<Executable>(*context, std::move(program)), 0}).first;
  }
  found->second.used = ++clock_;
  return *found->second.executable;
}

void State::trim() {
  context->stream.synchronise();
  cache_.clear();
  context->trim();
  uploads.trim();
  for (DeviceBuffer* buffer : {&planar_, &routed_, &routing_}) buffer->release();
}

void State::grow(DeviceBuffer& buffer, size_t bytes, const Stream& stream) {
  if (bytes <= buffer.bytes()) return;
  stream.synchronise();
  buffer.reserve(bytes);
}

std::unique_ptr<Canvas> State::makeCanvas(int64_t width, int64_t rows) {
  std::unique_ptr<Canvas> canvas;
  const std::shared_ptr<State> self = shared_from_this();
  guard([&] {
    const auto make = [&] {
      canvas = std::make_unique<CudaCanvas>(
          width, rows, context->stream, uploads, downloads, [this](const std::function<void()>& work) { guard(work); },
          self);
    };
    try {
      make();
    } catch (const Error& error) {
      if (error.code != "WBSR_OUT_OF_MEMORY") throw;
      trim();
      make();
    }
  });
  return canvas;
}

// On the uploads' stream: a picture is routed while the network runs on others.
void State::route(const RouteJob& job) {
  guard([&] {
    uploads.giveBack();  // of a call that failed
    const Stream& stream = uploads.stream;
    Transfer& transfer = uploads.transfer;
    const View& pixels = job.pixels;
    const int columns = (pixels.width + job.tile - 1) / job.tile, rows = (pixels.height + job.tile - 1) / job.tile;
    const int64_t tiles = int64_t{columns} * rows;
    const int classes = static_cast<int>(job.thresholds.size()) + 1;
    const uint8_t* picture = uploads.picture(pixels, job.origin);
    if (!picture) {
      const size_t bytes = bytesOf(pixels);
      grow(routed_, bytes + 256, stream);
      transfer.upload(routed_.as(), pixels.data, bytes, stream);
      picture = routed_.as<uint8_t>();
    }

    // thresholds, difficulties (8 bytes each), then classes
    const size_t doubles = job.thresholds.size() + static_cast<size_t>(tiles), ints = static_cast<size_t>(tiles);
    grow(routing_, doubles * sizeof(double) + ints * sizeof(int32_t), stream);
    double* thresholds = routing_.as<double>();
    double* difficulties = thresholds + job.thresholds.size();
    int32_t* classOf = reinterpret_cast<int32_t*>(difficulties + tiles);
    transfer.upload(thresholds, job.thresholds.data(), job.thresholds.size() * sizeof(double), stream);
    const RouterArguments arguments{{picture, pixels.type, pixels.width, pixels.height, pixels.channels},
                                    job.tile,
                                    columns,
                                    rows,
                                    thresholds,
                                    classes,
                                    difficulties,
                                    classOf};
    cuda::route(arguments, stream);
    if (job.difficulties)
      transfer.download(job.difficulties, difficulties, static_cast<size_t>(tiles) * sizeof(double), stream);
    if (job.classes) transfer.download(job.classes, classOf, static_cast<size_t>(tiles) * sizeof(int32_t), stream);
    stream.synchronise();
    uploads.giveBack();
  });
}

void State::forward(int subnet, const float* input, float* output, int batch, int height, int width) {
  guard([&] {
    const cudaStream_t stream = context->stream;
    const int64_t pixels = int64_t{height} * width, area = int64_t{graph.scale()} * graph.scale();
    const auto run = [&](int first, int count) {
      Executable& program = executable(subnet, count, height, width, height, width, false);
      program.reserve();
      const size_t in = sizeof(float) * static_cast<size_t>(count * 3 * pixels), out = in * static_cast<size_t>(area);
      grow(planar_, out, context->stream);
      transfer.upload(planar_.as(), input + first * 3 * pixels, in, stream);
      withType(context->half, [&](auto type) {
        using T = decltype(type);
        planarToThin(planar_.as<float>(), program.inputThin(), static_cast<T*>(program.inputCopy()), count, pixels,
                     stream);
      });
      program.run();
      thinToPlanar(program.outputThin(), planar_.as<float>(), count, pixels * area, stream);
      transfer.download(output + first * 3 * pixels * area, planar_.as(), out, stream);
    };
    for (int first = 0, most = batch; first < batch;) {
      const int count = std::min(most, batch - first);
      try {
        run(first, count);
        first += count;
      } catch (const Error& error) {
        if (error.code != "WBSR_OUT_OF_MEMORY") throw;
        trim();
        if (count == 1) throw;
        most = count / 2;
      }
    }
  });
}

int64_t State::bytes() const {
  size_t sum = transfer.bytes() + downloads.transfer.bytes();
  for (const DeviceBuffer* buffer : {&planar_, &routed_, &routing_}) sum += buffer->bytes();
  for (const Running& running : running_)
    for (const DeviceBuffer* buffer : {&running.pictures, &running.tiles, &running.crops}) sum += buffer->bytes();
  return static_cast<int64_t>(sum) + uploads.bytes() + context->bytes();
}

}  // namespace wbsr::cuda

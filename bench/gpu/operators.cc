// Single operators on the device: rates against the card's own copy bandwidth and matrix rate, the fused loss against
// PyTorch's expression. Bytes are the fewest that the operator must move: each input read once, each output written once.
//   do=copy bytes=N
//   do=router width=W height=H tile=64
//   do=conv mode=forward|data|weights batch=N height=H width=W in=64 out=64
//   do=shuffle batch=N height=H width=W channels=64      do=upsample batch=N height=H width=W
//   do=gather batch=N height=H width=W                   do=blend batch=N height=H width=W
//   do=finish width=W height=H
//   do=loss batch=N patch=P folder=DIR stride=8          writes DIR/prediction.f32, target.f32 (N, P, P, 3), gradient.wbsr.f32
// All take repeats=R inner=I and answer with seconds, bytes or flops.
#include <cstring>
#include <memory>

#include "commands.h"
#include "cuda/conv/conv.h"
#include "cuda/program/layout.h"
#include "cuda/loss.h"
#include "cuda/operators/kernels.h"
#include "cuda/router.h"
#include "cuda/tiles.h"
#include "files.h"
#include "loss_setup.h"
#include "timing.h"

namespace wbsr::bench {
namespace {

using cuda::bf16;
using cuda::DeviceBuffer;

// Device memory with random bytes or values in it: zeros run faster than data does.
template <typename T, typename F>
void fillWith(DeviceBuffer& buffer, size_t count, cudaStream_t stream, F&& value) {
  constexpr size_t kPattern = size_t{1} << 20;  // repeated: only the values must be random, not all different
  std::vector<T> host(std::min(count, kPattern));
  for (T& v : host) v = value();
  buffer.reserve(count * sizeof(T));
  for (size_t at = 0; at < count; at += host.size())
    cuda::copyNow(buffer.as<T>() + at, host.data(), std::min(host.size(), count - at) * sizeof(T),
                  cudaMemcpyHostToDevice, stream);
}

struct Operators {
  cuda::Stream stream;
  Uniform random{{3}};

  void floats(DeviceBuffer& buffer, size_t count) {
    fillWith<float>(buffer, count, stream, [&] { return random.next(); });
  }
  void halves(DeviceBuffer& buffer, size_t count, float size = 1.f) {
    fillWith<bf16>(buffer, count, stream, [&] { return __float2bfloat16((random.next() * 2 - 1) * size); });
  }
  void bytes(DeviceBuffer& buffer, size_t count) {
    fillWith<uint8_t>(buffer, count, stream, [&] { return static_cast<uint8_t>(random.next() * 256.f); });
  }
  void zeros(DeviceBuffer& buffer, size_t count) {
    buffer.reserve(std::max<size_t>(count, 16));
    WBSR_CUDA(cudaMemsetAsync(buffer.as(), 0, buffer.bytes(), stream));
  }

  template <typename F>
  Json timed(const Request& request, const char* unit, double amount, F&& work) {
    const std::vector<double> seconds =
        deviceSeconds(stream, request.number("repeats", 10), request.number("inner", 1), work);
    WBSR_CUDA(cudaGetLastError());
    Json answer;
    return answer.numbers("seconds", seconds).number(unit, amount);
  }

  Json copy(const Request& request) {
    const size_t count = static_cast<size_t>(std::stoll(request.text("bytes")));
    DeviceBuffer from, to;
    bytes(from, count);
    to.reserve(count);
    return timed(request, "bytes", 2.0 * static_cast<double>(count),
                 [&] { WBSR_CUDA(cudaMemcpyAsync(to.as(), from.as(), count, cudaMemcpyDeviceToDevice, stream)); });
  }

  Json router(const Request& request) {
    const int width = request.number("width"), height = request.number("height"), tile = request.number("tile"),
              classes = 10;
    const int columns = (width + tile - 1) / tile, rows = (height + tile - 1) / tile;
    const int64_t tiles = int64_t{columns} * rows;
    const size_t count = product(3, width, height);
    DeviceBuffer picture, thresholds, difficulties, classOf;
    bytes(picture, count);
    std::vector<double> limits;
    for (int k = 1; k < classes; ++k) limits.push_back(0.02 * k);
    thresholds.reserve(limits.size() * sizeof(double));
    cuda::copyNow(thresholds.as(), limits.data(), limits.size() * sizeof(double), cudaMemcpyHostToDevice, stream);
    difficulties.reserve(static_cast<size_t>(tiles) * sizeof(double));
    classOf.reserve(static_cast<size_t>(tiles) * sizeof(int32_t));
    cuda::RouterArguments arguments{};
    arguments.picture = {picture.as(), Sample::U8, width, height, 3};
    arguments.tile = tile;
    arguments.columns = columns;
    arguments.rows = rows;
    arguments.thresholds = thresholds.as<double>();
    arguments.classes = classes;
    arguments.difficulties = difficulties.as<double>();
    arguments.classOf = classOf.as<int32_t>();
    const double amount = static_cast<double>(count) + 12.0 * static_cast<double>(tiles);
    return timed(request, "bytes", amount, [&] { cuda::route(arguments, stream); });
  }

  Json conv(const Request& request) {
    const std::string mode = request.text("mode");
    cuda::ConvSpec spec;
    using cuda::ConvSpec;
    spec.mode = mode == "weights" ? ConvSpec::BackwardWeights
              : mode == "data"    ? ConvSpec::BackwardData
                                  : ConvSpec::Forward;
    spec.batch = request.number("batch");
    spec.height = request.number("height");
    spec.width = request.number("width");
    spec.inChannels = request.number("in");
    spec.outChannels = request.number("out");
    if (spec.mode == cuda::ConvSpec::Forward) {
      spec.bias = true;
      spec.activation = ActivationKind::Relu;
    }
    const auto plans = cuda::makeConvPlans(0, request.number("autotune", 8));
    const auto plan = plans->get(spec);
    const size_t pixels = product(spec.batch, spec.height, spec.width);
    const size_t weights = product(spec.outChannels, 9, spec.inChannels);
    DeviceBuffer x, y, w, bias, workspace;
    halves(x, product(pixels, spec.inChannels));
    halves(y, product(pixels, spec.outChannels));
    if (spec.mode == cuda::ConvSpec::BackwardWeights)
      floats(w, weights);
    else
      halves(w, weights, 0.05f);
    floats(bias, static_cast<size_t>(spec.outChannels));
    workspace.reserve(std::max<size_t>(plan->workspace(), 16));
    cuda::ConvArguments arguments;
    arguments.x = x.as();
    arguments.y = y.as();
    arguments.w = w.as();
    arguments.bias = spec.bias ? bias.as<float>() : nullptr;
    const double flops = 2.0 * static_cast<double>(pixels) * static_cast<double>(weights);
    Json answer = timed(request, "flops", flops, [&] { plan->run(arguments, workspace.as(), stream); });
    return answer.text("plan", spec.text() + ": " + plan->describe());
  }

  Json shuffle(const Request& request) {
    const int channels = request.number("channels");
    cuda::ShuffleShape shape{};
    shape.batch = request.number("batch");
    shape.height = request.number("height");
    shape.width = request.number("width");
    shape.factor = 2;
    shape.channels = channels;
    shape.shuffled = true;
    shape.activation = ActivationKind::LeakyRelu;
    shape.slope = 0.1f;
    const size_t count = product(4, cuda::padded(channels), shape.batch, shape.height, shape.width);
    DeviceBuffer small, large;
    halves(small, count);
    large.reserve(count * sizeof(bf16));
    const double amount = 2.0 * static_cast<double>(count * sizeof(bf16));
    return timed(request, "bytes", amount,
                 [&] { cuda::pixelShuffle(shape, small.as<bf16>(), large.as<bf16>(), stream); });
  }

  Json upsample(const Request& request) {
    const int batch = request.number("batch"), height = request.number("height"), width = request.number("width"),
              factor = 4;
    const size_t in = product(8, batch, height, width), out = in * factor * factor;
    DeviceBuffer small, addend, large;
    floats(small, in);
    floats(addend, out);
    large.reserve(out * sizeof(float));
    return timed(request, "bytes", 4.0 * static_cast<double>(in + 2 * out), [&] {
      cuda::upsample(small.as<float>(), addend.as<float>(), large.as<float>(), batch, height, width, 8, factor, false,
                     stream);
    });
  }

  // Tiles side by side in a picture of as many columns as fit into 4096 pixels.
  static std::vector<cuda::TileJob> tileJobs(int batch, int height, int width, int columns) {
    std::vector<cuda::TileJob> jobs;
    for (int n = 0; n < batch; ++n) {
      const int x = n % columns * width, y = n / columns * height;
      jobs.push_back({x, y, 0, 0, width, height, x, y, 0, 0, 0, 0});
    }
    return jobs;
  }

  Json gather(const Request& request) {
    const int batch = request.number("batch"), height = request.number("height"), width = request.number("width");
    const int columns = std::max(1, 4096 / width), rows = (batch + columns - 1) / columns;
    const std::vector<cuda::TileJob> jobs = tileJobs(batch, height, width, columns);
    const size_t pixels = product(batch, height, width);
    DeviceBuffer picture, tiles, thin, copy;
    bytes(picture, product(3, columns, width, rows, height));
    tiles.reserve(jobs.size() * sizeof(cuda::TileJob));
    cuda::copyNow(tiles.as(), jobs.data(), jobs.size() * sizeof(cuda::TileJob), cudaMemcpyHostToDevice, stream);
    thin.reserve(pixels * 8 * sizeof(float));
    copy.reserve(pixels * 8 * sizeof(bf16));
    const cuda::DevicePicture source{picture.as(), Sample::U8, columns * width, rows * height, 3};
    return timed(request, "bytes", static_cast<double>(pixels) * (3 + 32 + 16), [&] {
      cuda::gatherTiles(source, tiles.as<cuda::TileJob>(), batch, height, width, thin.as<float>(), copy.as<bf16>(),
                        stream);
    });
  }

  Json blend(const Request& request) {
    const int batch = request.number("batch"), height = request.number("height"), width = request.number("width");
    const int columns = std::max(1, 4096 / width), rows = (batch + columns - 1) / columns;
    const std::vector<cuda::TileJob> jobs = tileJobs(batch, height, width, columns);
    const size_t pixels = product(batch, height, width);
    const size_t canvas = product(columns, width, rows, height);
    DeviceBuffer output, tiles, sums, weights;
    floats(output, pixels * 8);
    tiles.reserve(jobs.size() * sizeof(cuda::TileJob));
    cuda::copyNow(tiles.as(), jobs.data(), jobs.size() * sizeof(cuda::TileJob), cudaMemcpyHostToDevice, stream);
    zeros(sums, canvas * 3 * sizeof(int32_t));
    zeros(weights, canvas * sizeof(int32_t));
    // The network's pixels are read 32 bytes at a time; sums and weights are read and written.
    return timed(request, "bytes", static_cast<double>(pixels) * (32 + 2 * 16), [&] {
      cuda::blendTiles(output.as<float>(), height, width, tiles.as<cuda::TileJob>(), batch, width, height,
                       sums.as<int32_t>(), weights.as<int32_t>(), columns * width, stream);
    });
  }

  Json finish(const Request& request) {
    const int64_t count = int64_t{request.number("width")} * request.number("height");
    DeviceBuffer sums, weights, pixels;
    fillWith<int32_t>(sums, product(count, 3), stream, [&] { return static_cast<int32_t>(random.next() * (1 << 20)); });
    fillWith<int32_t>(weights, static_cast<size_t>(count), stream, [&] { return 1 << 20; });
    pixels.reserve(product(count, 3));
    return timed(request, "bytes", static_cast<double>(count) * (16 + 3), [&] {
      cuda::finishRows(sums.as<int32_t>(), weights.as<int32_t>(), nullptr, count, 3, Sample::U8, pixels.as(), stream);
    });
  }

  Json loss(const Request& request) {
    const int batch = request.number("batch"), patch = request.number("patch"), stride = request.number("stride", 8);
    const int64_t count = int64_t{batch} * patch * patch;
    const size_t values = product(count, 3);
    std::vector<float> prediction(values), target(values), gradient(values);
    for (size_t i = 0; i < values; ++i) {
      target[i] = random.next();
      prediction[i] = target[i] + 0.1f * (random.next() - 0.5f);
    }
    writeFile(request.text("folder") + "/prediction.f32", prediction);
    writeFile(request.text("folder") + "/target.f32", target);
    const LossSpec spec = defaultLoss({syntheticPicture(512, 384, 1)});
    const cuda::LossParameters parameters = cuda::makeLossParameters(spec, {count * 3}, 1.f);
    DeviceBuffer onDevice, p, t, g, sums, scratch;
    onDevice.reserve(sizeof parameters);
    cuda::copyNow(onDevice.as(), &parameters, sizeof parameters, cudaMemcpyHostToDevice, stream);
    const auto strided = [&](DeviceBuffer& buffer, const std::vector<float>& v) {
      std::vector<float> wide(product(count, stride), 0.f);
      for (size_t i = 0; i < values; ++i) wide[i / 3 * static_cast<size_t>(stride) + i % 3] = v[i];
      buffer.reserve(wide.size() * sizeof(float));
      cuda::copyNow(buffer.as(), wide.data(), wide.size() * sizeof(float), cudaMemcpyHostToDevice, stream);
    };
    strided(p, prediction);
    strided(t, target);
    strided(g, gradient);
    sums.reserve(cuda::kLossSums * sizeof(double));
    zeros(scratch, cuda::lossScratch(count));
    Json answer = timed(request, "bytes", 36.0 * static_cast<double>(count), [&] {
      cuda::loss(onDevice.as<cuda::LossParameters>(), p.as<float>(), stride, t.as<float>(), stride, g.as<float>(),
                 stride, count, sums.as<double>(), scratch.as(), stream);
    });
    std::vector<float> wide(product(count, stride));
    std::vector<double> totals(cuda::kLossSums);
    cuda::copyNow(wide.data(), g.as(), wide.size() * sizeof(float), cudaMemcpyDeviceToHost, stream);
    cuda::copyNow(totals.data(), sums.as(), totals.size() * sizeof(double), cudaMemcpyDeviceToHost, stream);
    for (size_t i = 0; i < values; ++i) gradient[i] = wide[i / 3 * static_cast<size_t>(stride) + i % 3];
    writeFile(request.text("folder") + "/gradient.wbsr.f32", gradient);
    return answer.number("value", cuda::lossReport(spec, totals.data(), count * 3).loss)
        .raw("loss", lossJson(spec).str());
  }
};

}  // namespace

Commands operatorCommands() {
  // Made by the first command, so that a missing device is an answer and not an end.
  const auto self = std::make_shared<std::unique_ptr<Operators>>();
  const auto with = [=](Json (Operators::*command)(const Request&)) {
    return [=](const Request& request) {
      if (!*self) {
        wantDevice();
        *self = std::make_unique<Operators>();
      }
      return (self->get()->*command)(request);
    };
  };
  return {{"copy", with(&Operators::copy)},         {"router", with(&Operators::router)},
          {"conv", with(&Operators::conv)},         {"shuffle", with(&Operators::shuffle)},
          {"upsample", with(&Operators::upsample)}, {"gather", with(&Operators::gather)},
          {"blend", with(&Operators::blend)},       {"finish", with(&Operators::finish)},
          {"loss", with(&Operators::loss)}};
}

}  // namespace wbsr::bench

// A network's forward pass on the device, timed as PyTorch times its own: input and output stay in device memory.
//   do=load network=srresnet|rcan width=64 depth=16 [groups=10] folder=DIR     writes DIR/weights.f32 and .txt
//   do=prepare batch=64 height=64 width=64 folder=DIR name=tiles               writes DIR/tiles.in.f32
//   do=infer name=tiles repeats=5 inner=4
//   do=save name=tiles                                                         writes DIR/tiles.wbsr.f32
//   do=once name=tiles                                                         one pass, for a profiler
#include <memory>

#include "commands.h"
#include "cuda/kernels/formats.h"
#include "cuda/state.h"
#include "files.h"
#include "support/networks.h"
#include "timing.h"

namespace wbsr::bench {
namespace {

struct Shape {
  int batch, height, width;
  std::string folder;
  std::vector<float> input;  // (N, 3, H, W)
};

class Inference {
 public:
  Json load(const Request& request) {
    shapes_.clear();
    state_.reset();
    const int width = request.number("width"), depth = request.number("depth");
    const std::string network = request.text("network");
    if (network == "srresnet")
      graph_ = std::make_unique<Graph>(srresnet(4, {width}, {depth}));
    else if (network == "rcan")
      graph_ = std::make_unique<Graph>(rcan(4, {width}, {depth}, request.number("groups", 10)));
    else
      throw Error("WBSR_INVALID_OPTION", "Expected srresnet or rcan for network");
    const std::vector<float> weights = timingWeights(*graph_, 1);
    writeWeights(*graph_, weights, request.text("folder") + "/weights");
    state_ = makeState(*graph_, request);
    state_->guard([&] { state_->context->weights->set(Arena::Weights, weights.data()); });
    const SubnetInfo& info = graph_->subnets().back();
    Json answer;
    return answer.number("parameters", static_cast<double>(info.parameters))
        .number("flops", static_cast<double>(info.flops));
  }

  Json prepare(const Request& request) {
    Shape shape{request.number("batch"), request.number("height"), request.number("width"), request.text("folder"), {}};
    shape.input.resize(product(3, shape.batch, shape.height, shape.width));
    Uniform random{{5}};
    for (float& v : shape.input) v = random.next();
    writeFile(shape.folder + "/" + request.text("name") + ".in.f32", shape.input);
    shapes_[request.text("name")] = std::move(shape);
    const double start = now();
    run(request, 2);  // plans, then the graph
    Json answer;
    return answer.number("seconds", now() - start).number("memory", static_cast<double>(state_->bytes()));
  }

  Json infer(const Request& request) {
    std::vector<double> seconds;
    bool captured = false;
    state().guard([&] {
      cuda::Executable& program = fill(request);
      seconds = deviceSeconds(state_->context->stream, request.number("repeats", 5), request.number("inner", 1),
                              [&] { program.run(); });
      captured = program.captured();
    });
    Json answer;
    // Whether the runs were replays of a CUDA graph.
    return answer.numbers("seconds", seconds).number("captured", captured ? 1 : 0);
  }

  Json save(const Request& request) {
    const Shape& shape = of(request);
    const size_t area = static_cast<size_t>(graph_->scale() * graph_->scale());
    std::vector<float> output(shape.input.size() * area);
    run(request, 1);
    state().guard([&] {
      cuda::DeviceBuffer planar;
      planar.reserve(output.size() * sizeof(float));
      const cudaStream_t stream = state_->context->stream;
      const int64_t pixels = static_cast<int64_t>(area) * shape.height * shape.width;
      cuda::thinToPlanar(fill(request, false).outputThin(), planar.as<float>(), shape.batch, pixels, stream);
      state_->transfer.download(output.data(), planar.as(), output.size() * sizeof(float), stream);
      state_->context->stream.synchronise();
    });
    writeFile(shape.folder + "/" + request.text("name") + ".wbsr.f32", output);
    return {};
  }

  Json once(const Request& request) {
    run(request, 1);
    return {};
  }

 private:
  cuda::State& state() {
    if (!state_) throw Error("WBSR_INVALID_OPTION", "do=load comes first");
    return *state_;
  }

  const Shape& of(const Request& request) {
    const auto found = shapes_.find(request.text("name"));
    if (found == shapes_.end())
      throw Error("WBSR_INVALID_OPTION", "do=prepare comes first for " + request.text("name"));
    return found->second;
  }

  // The program of the shape; by default its input is in place.
  cuda::Executable& fill(const Request& request, bool input = true) {
    const Shape& shape = of(request);
    cuda::Executable& program =
        state_->executable(0, shape.batch, shape.height, shape.width, shape.height, shape.width, false);
    if (!input) return program;
    program.reserve();
    const cudaStream_t stream = state_->context->stream;
    cuda::DeviceBuffer planar;
    planar.reserve(shape.input.size() * sizeof(float));
    state_->transfer.upload(planar.as(), shape.input.data(), shape.input.size() * sizeof(float), stream);
    cuda::withType(state_->context->half, [&](auto type) {
      using T = decltype(type);
      T* copy = static_cast<T*>(program.inputCopy());
      cuda::planarToThin(planar.as<float>(), program.inputThin(), copy, shape.batch,
                         int64_t{shape.height} * shape.width, stream);
    });
    state_->context->stream.synchronise();
    return program;
  }

  void run(const Request& request, int times) {
    state().guard([&] {
      cuda::Executable& program = fill(request);
      for (int i = 0; i < times; ++i) program.run();
      state_->context->stream.synchronise();
    });
  }

  std::unique_ptr<Graph> graph_;
  std::shared_ptr<cuda::State> state_;
  std::map<std::string, Shape> shapes_;
};

}  // namespace

Commands inferenceCommands() {
  const auto self = std::make_shared<Inference>();
  return {{"load", [=](const Request& r) { return self->load(r); }},
          {"prepare", [=](const Request& r) { return self->prepare(r); }},
          {"infer", [=](const Request& r) { return self->infer(r); }},
          {"save", [=](const Request& r) { return self->save(r); }},
          {"once", [=](const Request& r) { return self->once(r); }}};
}

}  // namespace wbsr::bench

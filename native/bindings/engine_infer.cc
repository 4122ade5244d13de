// Routing, canvases and inference of class Engine.
#include <algorithm>
#include <cmath>
#include <memory>

#include "bindings/arguments.h"
#include "bindings/engine.h"
#include "bindings/fields.h"
#include "bindings/pixels.h"

namespace wbsr::bindings {
namespace {

// { data, width, height, channels? } (default 3): any pixel type. The array is added to `keep`.
View viewOf(const Napi::Object& object, const std::string& name, KeepAlive& keep) {
  const Napi::Env env = object.Env();
  const Napi::Value data = object.Get("data"), channels = object.Get("channels");
  const Pixels pixels = pixelArray(data, name + ".data", env);
  View view = pixels.view;
  view.width = integerArgument(object.Get("width"), name + ".width", 1, kMaxSide, env);
  view.height = integerArgument(object.Get("height"), name + ".height", 1, kMaxSide, env);
  view.channels = channels.IsUndefined() ? 3 : integerArgument(channels, name + ".channels", 1, 4, env);
  const double samples = static_cast<double>(view.width) * view.height * view.channels;
  if (static_cast<double>(pixels.length) != samples)
    throwExpected(std::to_string(static_cast<int64_t>(samples)) + " samples (width x height x channels)",
                  name + ".data", data, env);
  keep.push_back(data);
  return view;
}

// picture: { id, top, rows }, where the view lies in a picture of several jobs; none where it is undefined.
Origin originOf(const Napi::Object& object, const std::string& name, const View& view) {
  const Napi::Env env = object.Env();
  const Napi::Value value = object.Get("picture");
  if (value.IsUndefined()) return {};
  if (!value.IsObject()) throwExpected("an object", name + ".picture", value, env);
  const Napi::Object picture = value.As<Napi::Object>();
  const double id = numberOf(picture, "id");
  if (!(id >= 1 && id <= 9007199254740991.0 && id == std::floor(id)))
    throwExpected("an integer of at least 1", name + ".picture.id", picture.Get("id"), env);
  Origin origin;
  origin.picture = static_cast<uint64_t>(id);
  origin.rows = integerArgument(picture.Get("rows"), name + ".picture.rows", view.height, kMaxSide, env);
  origin.top = integerArgument(picture.Get("top"), name + ".picture.top", 0, origin.rows - view.height, env);
  return origin;
}

std::string rectangle(int x, int y, int width, int height) {
  return std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(width) + " x " + std::to_string(height);
}

std::string indexed(const std::string& name, uint32_t i) { return name + '[' + std::to_string(i) + ']'; }

Napi::Object objectAt(const Napi::Array& array, uint32_t i, const std::string& name) {
  const Napi::Value value = array[i];
  if (!value.IsObject()) throwExpected("an object", indexed(name, i), value, array.Env());
  return value.As<Napi::Object>();
}

}  // namespace

// route({ data, width, height, channels?, picture?, tile, thresholds })
Napi::Value Engine::route(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  core(env);
  if (!info[0].IsObject()) throwExpected("a job", "route()", info[0], env);
  const Napi::Object object = info[0].As<Napi::Object>();
  KeepAlive keep;
  auto job = std::make_shared<RouteJob>();
  job->pixels = viewOf(object, "route()", keep);
  job->origin = originOf(object, "route()", job->pixels);
  job->tile = integerArgument(object.Get("tile"), "tile", 1, kMaxSide, env);
  const Napi::Array thresholds = arrayOf(object, "thresholds");
  for (uint32_t i = 0; i < thresholds.Length(); ++i) {
    const Napi::Value value = thresholds[i];
    const double threshold = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::nan("");
    if (!(i == 0 ? threshold == threshold : threshold >= job->thresholds.back()))
      throwExpected("ascending numbers", "thresholds", thresholds, env);
    job->thresholds.push_back(threshold);
  }
  const auto tiles = [&](int side) {
    return (static_cast<size_t>(side) + static_cast<size_t>(job->tile) - 1) / static_cast<size_t>(job->tile);
  };
  const size_t count = tiles(job->pixels.width) * tiles(job->pixels.height);
  requireMemory(env, static_cast<double>(count), sizeof(double));
  Napi::Float64Array difficulties = Napi::Float64Array::New(env, count);
  Napi::Int32Array classes = Napi::Int32Array::New(env, count);
  job->difficulties = difficulties.Data();
  job->classes = classes.Data();
  Napi::Object result = Napi::Object::New(env);
  result.Set("difficulties", difficulties);
  result.Set("classes", classes);
  keep.insert(keep.end(), {difficulties, classes});
  keep.push_back(result);
  return run(
      info.This().As<Napi::Object>(), keep, [job](Device& device) { device.route(*job); },
      [](Napi::Env) { return Napi::Value(); });
}

// createCanvas(width, rows), in SR pixels
Napi::Value Engine::createCanvas(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  core(env);
  auto held = std::make_shared<HeldCanvas>();
  held->core = core_;
  held->width = integerArgument(info[0], "width", 1, 1 << 30, env);
  held->rows = integerArgument(info[1], "rows", 1, 1 << 30, env);
  auto* canvasClass = static_cast<Napi::FunctionReference*>(info.Data());
  const Napi::Object self = info.This().As<Napi::Object>();
  const Napi::Object canvas = CanvasHandle::make(*canvasClass, self, held, canvases_);
  CanvasHandle* handle = CanvasHandle::Unwrap(canvas);
  // Made on the engine's thread: the device may be running a job now.
  return run(
      self, {canvas}, [held](Device& device) { held->canvas = device.makeCanvas(held->width, held->rows); },
      [handle](Napi::Env e) {
        handle->ready(e);
        return Napi::Value();  // resolves with the last value kept: canvas
      });
}

std::vector<Picture> Engine::readPictures(const Napi::Object& job, KeepAlive& keep,
                                          std::vector<std::shared_ptr<HeldCanvas>>& canvases) const {
  const Napi::Env env = job.Env();
  const int scale = core(env).graph.scale();
  const Napi::Array inputs = arrayOf(job, "inputs"), outputs = arrayOf(job, "outputs");
  if (inputs.Length() != outputs.Length()) throwExpected("as many entries as inputs", "outputs", outputs, env);
  std::vector<Picture> pictures;
  for (uint32_t i = 0; i < inputs.Length(); ++i) {
    const Napi::Object out = objectAt(outputs, i, "outputs");
    Picture p;
    const Napi::Object in = objectAt(inputs, i, "inputs");
    p.pixels = viewOf(in, indexed("inputs", i), keep);
    p.origin = originOf(in, indexed("inputs", i), p.pixels);
    const int64_t width = int64_t{p.pixels.width} * scale, height = int64_t{p.pixels.height} * scale;
    if (out.Has("canvas")) {
      const std::string name = indexed("outputs", i) + ".canvas";
      const std::shared_ptr<HeldCanvas> held = CanvasHandle::heldBy(out.Get("canvas"), name);
      if (held->core != core_) throwExpected("a canvas of this engine", name, "one of another", env);
      if (held->width != width || held->rows < height)
        throwExpected(
            "a canvas of " + std::to_string(width) + " pixels and at least " + std::to_string(height) + " rows", name,
            std::to_string(held->width) + " pixels and " + std::to_string(held->rows) + " rows", env);
      keep.push_back(out.Get("canvas"));
      canvases.push_back(held);
      p.canvas = held->canvas.get();
    } else {
      Napi::Float32Array sum = floatsOf(env, out.Get("sum"), "outputs.sum", width * height * 3);
      Napi::Float32Array weight = floatsOf(env, out.Get("weight"), "outputs.weight", width * height);
      p.sum = sum.Data();
      p.weight = weight.Data();
      keep.insert(keep.end(), {sum, weight});
    }
    pictures.push_back(p);
  }
  return pictures;
}

std::vector<Region> Engine::readRegions(const Napi::Object& job, const std::vector<Picture>& pictures) const {
  const Napi::Env env = job.Env();
  const Napi::Array regions = arrayOf(job, "regions");
  std::vector<Region> out;
  for (uint32_t i = 0; i < regions.Length(); ++i) {
    const Napi::Object item = objectAt(regions, i, "regions");
    const Region r{intOf(item, "picture"),   subnetOf(env, intOf(item, "subnet")),
                   intOf(item, "x"),         intOf(item, "y"),
                   intOf(item, "width"),     intOf(item, "height"),
                   intOf(item, "keepX"),     intOf(item, "keepY"),
                   intOf(item, "keepWidth"), intOf(item, "keepHeight"),
                   intOf(item, "rampLeft"),  intOf(item, "rampTop"),
                   intOf(item, "rampRight"), intOf(item, "rampBottom")};
    const std::string name = indexed("regions", i);
    if (r.picture < 0 || r.picture >= static_cast<int>(pictures.size()))
      throwExpected("an index into inputs", name + ".picture", std::to_string(r.picture), env);
    const Picture& p = pictures[static_cast<size_t>(r.picture)];
    if (r.width < 1 || r.height < 1 || r.x < 0 || r.y < 0 || r.width > p.pixels.width - r.x ||
        r.height > p.pixels.height - r.y)
      throwExpected("a rectangle inside the picture", name, rectangle(r.x, r.y, r.width, r.height), env);
    if (r.keepWidth < 1 || r.keepHeight < 1 || r.keepX < r.x || r.keepY < r.y ||
        r.keepWidth > r.x + r.width - r.keepX || r.keepHeight > r.y + r.height - r.keepY)
      throwExpected("a kept part inside the region", name, rectangle(r.keepX, r.keepY, r.keepWidth, r.keepHeight), env);
    if (std::min({r.rampLeft, r.rampTop, r.rampRight, r.rampBottom}) < 0 ||
        std::max({r.rampLeft, r.rampTop, r.rampRight, r.rampBottom}) > 1 << 24)
      throwExpected("ramps between 0 and 2^24", name,
                    std::to_string(r.rampLeft) + ", " + std::to_string(r.rampTop) + ", " + std::to_string(r.rampRight) +
                        " and " + std::to_string(r.rampBottom),
                    env);
    out.push_back(r);
  }
  return out;
}

Napi::Value Engine::infer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  core(env);
  if (!info[0].IsObject()) throwExpected("a job", "infer()", info[0], env);
  const Napi::Object object = info[0].As<Napi::Object>();
  KeepAlive keep;
  std::vector<std::shared_ptr<HeldCanvas>> canvases;
  auto job = std::make_shared<InferJob>();
  job->pictures = readPictures(object, keep, canvases);
  job->regions = readRegions(object, job->pictures);
  const double most = numberOf(object, "maxBatchPixels");
  if (!(most >= 0)) throwExpected("a number of at least 0", "maxBatchPixels", object.Get("maxBatchPixels"), env);
  job->maxBatchPixels = static_cast<int64_t>(std::min(most, 1e15));
  job->cancel = cancelOf(object, keep);
  auto report = std::make_shared<InferReport>();
  auto ticket = std::make_shared<int64_t>(-1);
  return run(
      info.This().As<Napi::Object>(), keep,
      [job, report, ticket, canvases](Device& device) { *ticket = device.submitInfer(*job, *report); },
      [report](Napi::Env e) {
        Napi::Object out = Napi::Object::New(e);
        out.Set("networkSeconds", report->networkSeconds);
        out.Set("otherSeconds", report->otherSeconds);
        out.Set("batches", report->batches);
        out.Set("flops", report->flops);
        out.Set("halvings", report->halvings);
        return out;
      },
      [report, ticket](Device& device) { device.waitInfer(*ticket, *report); });
}

}  // namespace wbsr::bindings

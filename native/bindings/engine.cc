#include "bindings/engine.h"

#include <algorithm>

#include "bindings/arguments.h"
#include "bindings/devices.h"
#include "bindings/fields.h"
#include "bindings/graph.h"
#include "bindings/register.h"

namespace wbsr::bindings {

int64_t samplesOf(Napi::Env env, const char* name, int batch, int height, int width) {
  if (batch < 1 || height < 1 || width < 1)
    throwExpected("a batch, width and height of at least 1", name,
                  std::to_string(batch) + ", " + std::to_string(width) + " and " + std::to_string(height), env);
  if (3.0 * batch * height * width > 1e12) throwError(env, "WBSR_OUT_OF_MEMORY", "the batch is too large");
  return int64_t{3} * batch * height * width;
}

Napi::Float32Array floatsOf(Napi::Env env, const Napi::Value& value, const std::string& name, int64_t length) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throwExpected("a Float32Array", name, value, env);
  Napi::Float32Array array = value.As<Napi::Float32Array>();
  if (static_cast<int64_t>(array.ElementLength()) != length)
    throwExpected(std::to_string(length) + " numbers", name, std::to_string(array.ElementLength()), env);
  return array;
}

const volatile int32_t* cancelOf(const Napi::Object& job, KeepAlive& keep) {
  const Napi::Value value = job.Get("cancel");
  if (value.IsUndefined()) return nullptr;
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    throwExpected("an Int32Array", "cancel", value, job.Env());
  keep.push_back(value);
  return value.As<Napi::Int32Array>().Data();
}

namespace {

Arena arenaOf(const Napi::Value& value) {
  const std::string name = value.ToString();
  if (name == "weights") return Arena::Weights;
  if (name == "ema") return Arena::Ema;
  if (name == "m") return Arena::M;
  if (name == "v") return Arena::V;
  if (name == "gradient") return Arena::Gradient;
  throwExpected(oneOf({"weights", "ema", "m", "v", "gradient"}), "arena", value, value.Env());
}

// The error that `failed` holds, with its code.
[[noreturn]] void rethrow(Napi::Env env, const std::exception_ptr& failed, const char* withoutMemory) {
  try {
    std::rethrow_exception(failed);
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throwError(env, error.code.c_str(), error.what());
  } catch (const std::bad_alloc&) {
    throwError(env, "WBSR_OUT_OF_MEMORY", withoutMemory);
  } catch (const std::length_error&) {
    throwError(env, "WBSR_OUT_OF_MEMORY", withoutMemory);
  } catch (const std::exception& error) {
    throwError(env, "WBSR_INTERNAL", error.what());
  }
}

// A precision that the kind supports; its default where the option is undefined.
Precision precisionOf(const Napi::Object& options, const DeviceKind& kind) {
  const Napi::Value value = options.Get("precision");
  if (value.IsUndefined()) return kind.precisions.front();
  std::vector<std::string> names;
  for (const Precision precision : kind.precisions) {
    names.push_back(nameOf(precision));
    if (value.IsString() && value.As<Napi::String>().Utf8Value() == names.back()) return precision;
  }
  throwExpected(oneOf(names), "precision", value, options.Env());
}

int countOf(const Napi::Object& options, const char* key, int most) {
  const Napi::Value value = options.Get(key);
  return value.IsUndefined() ? 0 : integerArgument(value, key, 0, most, options.Env());
}

// Returns a function that makes the device of the options; the default kind is the one that is always usable.
std::function<std::unique_ptr<Device>(const Graph&)> makerOf(const Napi::Object& options, int threads) {
  const Napi::Env env = options.Env();
  const Napi::Value name = options.Get("device");
  const DeviceKind& kind = name.IsUndefined() ? deviceKinds().back() : deviceKindArgument(name, "device", env);
  DeviceOptions wanted;
  wanted.index = countOf(options, "index", 1 << 16);
  wanted.threads = threads;
  wanted.precision = precisionOf(options, kind);
  wanted.autotune = countOf(options, "autotune", 1 << 16);
  wanted.closing = &closing(env);
  return [make = kind.make, wanted](const Graph& graph) { return make(graph, wanted); };
}

}  // namespace

void Engine::define(Napi::Env env, Napi::Object exports) {
  Napi::FunctionReference* canvasClass = CanvasHandle::define(env);
  exports.Set("Engine", DefineClass(env, "Engine",
                                    {InstanceAccessor<&Engine::device>("device"),
                                     InstanceAccessor<&Engine::subnets>("subnets"),
                                     InstanceAccessor<&Engine::parameters>("parameters"),
                                     InstanceAccessor<&Engine::parameterCount>("parameterCount"),
                                     InstanceAccessor<&Engine::minimumSize>("minimumSize"),
                                     InstanceAccessor<&Engine::sizeMultiple>("sizeMultiple"),
                                     InstanceMethod<&Engine::initialise>("initialise"),
                                     InstanceMethod<&Engine::setArena>("setArena"),
                                     InstanceMethod<&Engine::getArena>("getArena"),
                                     InstanceMethod<&Engine::readWeights>("readWeights"),
                                     InstanceMethod<&Engine::getSteps>("getSteps"),
                                     InstanceMethod<&Engine::setSteps>("setSteps"),
                                     InstanceMethod<&Engine::forward>("forward"),
                                     InstanceMethod<&Engine::route>("route"),
                                     InstanceMethod<&Engine::createCanvas>("createCanvas", napi_default, canvasClass),
                                     InstanceMethod<&Engine::infer>("infer"),
                                     InstanceMethod<&Engine::gradients>("gradients"),
                                     InstanceMethod<&Engine::readGradient>("readGradient"),
                                     InstanceMethod<&Engine::writeGradient>("writeGradient"),
                                     InstanceMethod<&Engine::apply>("apply"),
                                     InstanceMethod<&Engine::train>("train"),
                                     InstanceMethod<&Engine::exchange>("exchange"),
                                     InstanceMethod<&Engine::exchangeId>("exchangeId"),
                                     InstanceMethod<&Engine::memory>("memory"),
                                     InstanceMethod<&Engine::dispose>("dispose")}));
}

Engine::Engine(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Engine>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throwExpected("a graph", "new Engine()", info[0], env);
  if (!info[1].IsObject()) throwExpected("options", "new Engine()", info[1], env);
  try {
    const Napi::Object options = info[1].As<Napi::Object>();
    const int threads = integerArgument(options.Get("threads"), "threads", 1, 1024, env);
    core_ = std::make_shared<EngineCore>(readGraph(info[0].As<Napi::Object>()), makerOf(options, threads));
    facts_ = core_->device().facts();
    worker_ = std::make_unique<Worker>();
  } catch (...) {
    core_.reset();
    rethrow(env, std::current_exception(), "not enough memory for this network's weights");
  }
  account(env);
}

void Engine::Finalize(Napi::Env env) { Napi::MemoryManagement::AdjustExternalMemory(env, -accounted_); }

EngineCore& Engine::core(Napi::Env env) const {
  if (!core_) throwError(env, "WBSR_DISPOSED", "the model was disposed");
  return *core_;
}

void Engine::whileIdle(Napi::Env env, const Part& work) {
  EngineCore& held = core(env);
  if (pending_ > 0) throwError(env, "WBSR_INTERNAL", "the engine is busy");
  try {
    held.run(work);
  } catch (...) {
    rethrow(env, std::current_exception(), "not enough memory for this");
  }
}

// The memory of a device of its own is freed on the engine's thread: the device waits for its work before.
void Engine::freeDiscarded() {
  if (!core_) return;
  if (!facts_.hostMemory)
    worker_->post([core = core_] { core->freeDiscarded(); });
  else if (pending_ == 0)
    core_->freeDiscarded();
}

void Engine::account(Napi::Env env) {
  const int64_t bytes = core_ ? core_->device().memory() : 0;
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes - accounted_);
  accounted_ = bytes;
}

Napi::Promise Engine::run(const Napi::Object& self, KeepAlive keep, Part work, Finish finish, Part wait) {
  const Napi::Env env = self.Env();
  core(env);
  keep.insert(keep.begin(), self);
  ++pending_;
  auto failed = std::make_shared<std::exception_ptr>();  // rethrown at the end, after the bookkeeping
  auto first = [core = core_, work = std::move(work), failed] {
    try {
      core->run(work);
    } catch (...) {
      *failed = std::current_exception();
    }
  };
  auto last = [this, finish = std::move(finish), failed](Napi::Env e) -> Napi::Value {
    if (--pending_ == 0) account(e);
    if (*failed) rethrow(e, *failed, "not enough memory for this job");
    return finish(e);
  };
  if (!wait) return runJob(env, *worker_, keep, std::move(first), std::move(last));
  if (!waiter_) waiter_ = std::make_unique<Worker>(Worker::Kind::Draining);
  auto second = [core = core_, wait = std::move(wait), failed] {
    if (*failed) return;
    try {
      core->wait(wait);
    } catch (...) {
      *failed = std::current_exception();
    }
  };
  return runJobInTwo(env, *worker_, *waiter_, keep, std::move(first), std::move(second), std::move(last));
}

Napi::Value Engine::device(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("kind", facts_.kind);
  out.Set("name", facts_.name);
  out.Set("threads", facts_.threads);
  out.Set("details", facts_.details);
  out.Set("precision", facts_.precision);
  out.Set("regular", Napi::Boolean::New(info.Env(), facts_.regular));
  out.Set("pipelined", Napi::Boolean::New(info.Env(), facts_.pipelined));
  out.Set("hostMemory", Napi::Boolean::New(info.Env(), facts_.hostMemory));
  return out;
}

Napi::Value Engine::subnets(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  core(env);
  if (!subnets_.IsEmpty()) return subnets_.Value();  // read in loops, so made once
  Napi::Array out = Napi::Array::New(env);
  for (const SubnetInfo& s : core(env).graph.subnets()) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("index", s.index);
    item.Set("width", s.width);
    item.Set("depth", s.depth);
    item.Set("flops", static_cast<double>(s.flops));
    item.Set("parameters", static_cast<double>(s.parameters));
    item.Set("receptiveField", s.receptiveField);
    item.Set("tailField", s.tailField);
    item.Set("tailFlops", static_cast<double>(s.tailFlops));
    out[static_cast<uint32_t>(s.index)] = item;
  }
  subnets_ = Napi::Persistent(out.As<Napi::Object>());
  return out;
}

Napi::Value Engine::parameters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  uint32_t i = 0;
  for (const Parameter& p : core(env).graph.parameters()) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("name", p.name);
    Napi::Array shape = Napi::Array::New(env);
    for (size_t d = 0; d < p.shape.size(); ++d) shape[static_cast<uint32_t>(d)] = Napi::Number::New(env, p.shape[d]);
    item.Set("shape", shape);
    item.Set("offset", static_cast<double>(p.offset));
    item.Set("count", static_cast<double>(p.count));
    out[i++] = item;
  }
  return out;
}

Napi::Value Engine::parameterCount(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(core(info.Env()).graph.parameterCount()));
}

Napi::Value Engine::minimumSize(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core(info.Env()).graph.minimumSize());
}

Napi::Value Engine::sizeMultiple(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core(info.Env()).graph.sizeMultiple());
}

void Engine::initialise(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsNumber()) throwExpected("a number", "seed", info[0], env);
  const uint64_t seed = static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
  whileIdle(env, [=](Device& device) { device.initialise(seed); });
  account(env);
}

void Engine::setArena(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Arena which = arenaOf(info[0]);
  const float* values = floatsOf(env, info[1], "values", core(env).graph.parameterCount()).Data();
  whileIdle(env, [=](Device& device) { device.setArena(which, values); });
  account(env);
}

Napi::Value Engine::getArena(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Arena which = arenaOf(info[0]);
  Napi::Float32Array out = Napi::Float32Array::New(env, static_cast<size_t>(core(env).graph.parameterCount()));
  float* values = out.Data();
  whileIdle(env, [=](Device& device) { device.getArena(which, values); });
  return out;
}

// The weights between two jobs; may be called while the engine is busy.
Napi::Value Engine::readWeights(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Float32Array out = Napi::Float32Array::New(env, static_cast<size_t>(core(env).graph.parameterCount()));
  float* values = out.Data();
  // An empty value resolves with the last value kept.
  return run(
      info.This().As<Napi::Object>(), {out}, [=](Device& device) { device.getArena(Arena::Weights, values); },
      [](Napi::Env) { return Napi::Value(); });
}

Napi::Value Engine::getSteps(const Napi::CallbackInfo& info) {
  std::vector<int32_t> steps;
  whileIdle(info.Env(), [&](Device& device) { steps = device.steps(); });
  Napi::Int32Array out = Napi::Int32Array::New(info.Env(), steps.size());
  std::copy(steps.begin(), steps.end(), out.Data());
  return out;
}

void Engine::setSteps(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const size_t expected = core(env).graph.parameters().size() * core(env).graph.widths().size();
  const auto* values =
      arrayArgument<int32_t>(info[0], "steps", napi_int32_array, "Int32Array", static_cast<int64_t>(expected), env);
  const std::vector<int32_t> steps{values, values + expected};
  whileIdle(env, [&](Device& device) { device.setSteps(steps); });
}

int Engine::subnetOf(Napi::Env env, int subnet) const {
  const int count = static_cast<int>(core(env).graph.subnets().size());
  if (subnet < 0 || subnet >= count)
    throwExpected("an integer between 0 and " + std::to_string(count - 1), "subnet", std::to_string(subnet), env);
  return subnet;
}

// forward(subnet, input, batch, height, width)
Napi::Value Engine::forward(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int scale = core(env).graph.scale();
  int numbers[5];
  for (int i : {0, 2, 3, 4}) numbers[i] = toInt(info[i], "forward");
  const int subnet = subnetOf(env, numbers[0]), batch = numbers[2], height = numbers[3], width = numbers[4];
  const Napi::Float32Array input = floatsOf(env, info[1], "input", samplesOf(env, "forward", batch, height, width));
  requireMemory(env, static_cast<double>(input.ElementLength()) * scale * scale, sizeof(float));
  const Napi::Float32Array output =
      Napi::Float32Array::New(env, input.ElementLength() * static_cast<size_t>(scale * scale));
  const float* in = input.Data();
  float* out = const_cast<Napi::Float32Array&>(output).Data();
  return run(
      info.This().As<Napi::Object>(), {input, output},
      [=](Device& device) { device.forward(subnet, in, out, batch, height, width); },
      [](Napi::Env) { return Napi::Value(); });  // the last one kept: output
}

Napi::Value Engine::memory(const Napi::CallbackInfo& info) {
  // The value from before the job, because the device changes while a job runs.
  if (pending_ == 0) account(info.Env());
  return Napi::Number::New(info.Env(), static_cast<double>(accounted_ + canvases_->bytes()));
}

void Engine::dispose(const Napi::CallbackInfo& info) {
  canvases_->dispose(info.Env());
  if (core_ && !facts_.hostMemory) worker_->post([core = std::move(core_)]() mutable { core.reset(); });
  core_.reset();
  if (pending_ == 0) account(info.Env());
}

void registerEngine(Napi::Env env, Napi::Object exports) { Engine::define(env, exports); }

}  // namespace wbsr::bindings

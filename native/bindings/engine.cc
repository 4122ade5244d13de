// class Engine and cpuInfo of lib/native.ts: a graph, its parameters and a device.
#include <algorithm>
#include <memory>
#include <thread>

#include "bindings/arguments.h"
#include "bindings/fields.h"
#include "bindings/graph.h"
#include "bindings/jobs.h"
#include "bindings/loss.h"
#include "bindings/register.h"
#include "core/error.h"
#include "cpu/device.h"

namespace wbsr::bindings {
namespace {

// 3 x batch x height x width, each at least 1.
int64_t samplesOf(Napi::Env env, const char* name, int batch, int height, int width) {
  if (batch < 1 || height < 1 || width < 1) invalid(env, name, "a batch, width and height of at least 1");
  if (3.0 * batch * height * width > 1e12) throwError(env, "WBSR_OUT_OF_MEMORY", "the batch is too large");
  return int64_t{3} * batch * height * width;
}

Napi::Float32Array floatsOf(Napi::Env env, const Napi::Value& value, const std::string& name, int64_t length) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    invalid(env, name, "a Float32Array");
  Napi::Float32Array array = value.As<Napi::Float32Array>();
  if (static_cast<int64_t>(array.ElementLength()) != length)
    invalid(env, name, std::to_string(length) + " numbers instead of " + std::to_string(array.ElementLength()));
  return array;
}

const volatile int32_t* cancelOf(const Napi::Object& job, KeepAlive& keep) {
  const Napi::Value value = job.Get("cancel");
  if (value.IsUndefined()) return nullptr;
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array)
    invalid(job.Env(), "cancel", "an Int32Array");
  keep.push_back(value);
  return value.As<Napi::Int32Array>().Data();
}

Arena arenaOf(const Napi::Value& value) {
  const std::string name = value.ToString();
  if (name == "weights") return Arena::Weights;
  if (name == "ema") return Arena::Ema;
  if (name == "m") return Arena::M;
  if (name == "v") return Arena::V;
  if (name == "gradient") return Arena::Gradient;
  invalid(value.Env(), "arena", "weights, ema, m, v or gradient");
}

// Graph and device together: jobs hold them, so that dispose() never pulls memory from under a running one.
struct Core {
  Graph graph;
  std::unique_ptr<Device> device;
  Core(Graph g, int threads, const std::atomic<bool>* closing) : graph(std::move(g)), device(cpu::makeDevice(graph, threads, closing)) {}
};

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  static void define(Napi::Env env, Napi::Object exports) {
    exports.Set("Engine", DefineClass(env, "Engine",
                                      {InstanceAccessor<&Engine::device>("device"), InstanceAccessor<&Engine::subnets>("subnets"),
                                       InstanceAccessor<&Engine::parameters>("parameters"),
                                       InstanceAccessor<&Engine::parameterCount>("parameterCount"),
                                       InstanceMethod<&Engine::initialise>("initialise"), InstanceMethod<&Engine::setArena>("setArena"),
                                       InstanceMethod<&Engine::getArena>("getArena"), InstanceMethod<&Engine::getSteps>("getSteps"),
                                       InstanceMethod<&Engine::setSteps>("setSteps"), InstanceMethod<&Engine::forward>("forward"),
                                       InstanceMethod<&Engine::infer>("infer"), InstanceMethod<&Engine::train>("train"),
                                       InstanceMethod<&Engine::memory>("memory"), InstanceMethod<&Engine::dispose>("dispose")}));
  }

  explicit Engine(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Engine>(info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsObject() || !info[1].IsObject()) invalid(env, "new Engine()", "a graph and options");
    try {
      threads_ = intOf(info[1].As<Napi::Object>(), "threads");
      if (threads_ < 1 || threads_ > 1024) invalid(env, "threads", "an integer between 1 and 1024");
      core_ = std::make_shared<Core>(readGraph(info[0].As<Napi::Object>()), threads_, &closing(env));
      worker_ = std::make_unique<Worker>();
    } catch (const Napi::Error&) {
      throw;
    } catch (const Error& error) {
      throwError(env, error.code.c_str(), error.what());
    } catch (const std::bad_alloc&) {
      throwError(env, "WBSR_OUT_OF_MEMORY", "not enough memory for this network's weights");
    } catch (const std::length_error&) {
      throwError(env, "WBSR_OUT_OF_MEMORY", "not enough memory for this network's weights");
    } catch (const std::exception& error) {
      throwError(env, "WBSR_INTERNAL", error.what());
    }
    account(env);
  }

  void Finalize(Napi::Env env) override { Napi::MemoryManagement::AdjustExternalMemory(env, -accounted_); }

 private:
  const Core& core(Napi::Env env) const {
    if (!core_) throwError(env, "WBSR_DISPOSED", "the model was disposed");
    return *core_;
  }
  // For synchronous access: a running job must not see its parameters change.
  Device& idleDevice(Napi::Env env) const {
    if (pending_ > 0) throwError(env, "WBSR_INTERNAL", "the engine is busy");
    return *core(env).device;
  }

  void account(Napi::Env env) {
    const int64_t bytes = core_ ? core_->device->memory() : 0;
    Napi::MemoryManagement::AdjustExternalMemory(env, bytes - accounted_);
    accounted_ = bytes;
  }

  // Runs work(device) on the engine's thread, one job at a time in the order of calls.
  Napi::Promise run(const Napi::CallbackInfo& info, KeepAlive keep, std::function<void(Device&)> work, std::function<Napi::Value(Napi::Env)> finish) {
    const Napi::Env env = info.Env();
    core(env);
    keep.insert(keep.begin(), info.This());
    ++pending_;
    auto failed = std::make_shared<std::exception_ptr>();
    return runJob(
        env, *worker_, keep,
        [core = core_, work = std::move(work), failed] {
          try {
            work(*core->device);
          } catch (...) {
            *failed = std::current_exception();  // rethrown below, after the bookkeeping
          }
        },
        [this, finish = std::move(finish), failed](Napi::Env e) -> Napi::Value {
          if (--pending_ == 0) account(e);
          if (*failed) {
            try {
              std::rethrow_exception(*failed);
            } catch (const Error& error) {
              throwError(e, error.code.c_str(), error.what());
            } catch (const std::bad_alloc&) {
              throwError(e, "WBSR_OUT_OF_MEMORY", "not enough memory for this job");
            } catch (const std::exception& error) {
              throwError(e, "WBSR_INTERNAL", error.what());
            }
          }
          return finish(e);
        });
  }

  Napi::Value device(const Napi::CallbackInfo& info) {
    const cpu::CpuInfo& found = cpu::cpuInfo();
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("kind", "cpu");
    out.Set("name", found.name);
    out.Set("threads", threads_);
    out.Set("details", "oneDNN " + found.onednn + ", " + found.isa);
    return out;
  }

  Napi::Value subnets(const Napi::CallbackInfo& info) {
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

  Napi::Value parameters(const Napi::CallbackInfo& info) {
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

  Napi::Value parameterCount(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(core(info.Env()).graph.parameterCount()));
  }

  void initialise(const Napi::CallbackInfo& info) {
    if (!info[0].IsNumber()) invalid(info.Env(), "seed", "a number");
    idleDevice(info.Env()).initialise(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value()));
  }

  void setArena(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Arena which = arenaOf(info[0]);
    Device& device = idleDevice(env);
    device.setArena(which, floatsOf(env, info[1], "values", core(env).graph.parameterCount()).Data());
    account(env);
  }

  Napi::Value getArena(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Arena which = arenaOf(info[0]);
    Napi::Float32Array out = Napi::Float32Array::New(env, static_cast<size_t>(core(env).graph.parameterCount()));
    idleDevice(env).getArena(which, out.Data());
    return out;
  }

  Napi::Value getSteps(const Napi::CallbackInfo& info) {
    const std::vector<int32_t> steps = idleDevice(info.Env()).steps();
    Napi::Int32Array out = Napi::Int32Array::New(info.Env(), steps.size());
    std::copy(steps.begin(), steps.end(), out.Data());
    return out;
  }

  void setSteps(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const size_t expected = core(env).graph.parameters().size() * core(env).graph.widths().size();
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_int32_array ||
        info[0].As<Napi::TypedArray>().ElementLength() != expected)
      invalid(env, "steps", "an Int32Array of " + std::to_string(expected));
    const Napi::Int32Array steps = info[0].As<Napi::Int32Array>();
    idleDevice(env).setSteps({steps.Data(), steps.Data() + expected});
  }

  int subnetOf(Napi::Env env, int subnet) const {
    const int count = static_cast<int>(core(env).graph.subnets().size());
    if (subnet < 0 || subnet >= count) invalid(env, "subnet", "an integer between 0 and " + std::to_string(count - 1));
    return subnet;
  }

  // forward(subnet, input, batch, height, width)
  Napi::Value forward(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const int scale = core(env).graph.scale();
    int numbers[5];
    for (int i : {0, 2, 3, 4}) {
      numbers[i] = toInt(info[i], "forward");
    }
    const int subnet = subnetOf(env, numbers[0]), batch = numbers[2], height = numbers[3], width = numbers[4];
    const Napi::Float32Array input = floatsOf(env, info[1], "input", samplesOf(env, "forward", batch, height, width));
    requireMemory(env, static_cast<double>(input.ElementLength()) * scale * scale, sizeof(float));
    const Napi::Float32Array output = Napi::Float32Array::New(env, input.ElementLength() * static_cast<size_t>(scale * scale));
    const float* in = input.Data();
    float* out = const_cast<Napi::Float32Array&>(output).Data();
    return run(info, {input, output}, [=](Device& device) { device.forward(subnet, in, out, batch, height, width); },
               [](Napi::Env) { return Napi::Value(); });  // the last one kept: output
  }

  Napi::Value infer(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsObject()) invalid(env, "infer()", "a job");
    const Napi::Object object = info[0].As<Napi::Object>();
    const Graph& graph = core(env).graph;
    const int64_t area = int64_t{graph.scale()} * graph.scale();
    KeepAlive keep;
    auto job = std::make_shared<InferJob>();
    const Napi::Array inputs = arrayOf(object, "inputs"), outputs = arrayOf(object, "outputs"), regions = arrayOf(object, "regions");
    if (inputs.Length() != outputs.Length()) invalid(env, "outputs", "as many entries as inputs");
    for (uint32_t i = 0; i < inputs.Length(); ++i) {
      const Napi::Object in = Napi::Value(inputs[i]).As<Napi::Object>(), out = Napi::Value(outputs[i]).As<Napi::Object>();
      Picture p;
      p.pixels = {nullptr, Sample::F32, intOf(in, "width"), intOf(in, "height"), 3};
      if (p.pixels.width < 1 || p.pixels.height < 1) invalid(env, "inputs", "pictures of at least 1 x 1");
      const int64_t pixels = int64_t{p.pixels.width} * p.pixels.height;
      Napi::Float32Array data = floatsOf(env, in.Get("data"), "inputs.data", pixels * 3);
      Napi::Float32Array sum = floatsOf(env, out.Get("sum"), "outputs.sum", pixels * area * 3);
      Napi::Float32Array weight = floatsOf(env, out.Get("weight"), "outputs.weight", pixels * area);
      p.pixels.data = data.Data();
      p.sum = sum.Data();
      p.weight = weight.Data();
      keep.insert(keep.end(), {data, sum, weight});
      job->pictures.push_back(p);
    }
    for (uint32_t i = 0; i < regions.Length(); ++i) {
      const Napi::Object item = Napi::Value(regions[i]).As<Napi::Object>();
      const Region r{intOf(item, "picture"), subnetOf(env, intOf(item, "subnet")), intOf(item, "x"), intOf(item, "y"), intOf(item, "width"),
                     intOf(item, "height"), intOf(item, "keepX"), intOf(item, "keepY"), intOf(item, "keepWidth"), intOf(item, "keepHeight"),
                     intOf(item, "rampLeft"), intOf(item, "rampTop"), intOf(item, "rampRight"), intOf(item, "rampBottom")};
      const std::string name = "regions[" + std::to_string(i) + "]";
      if (r.picture < 0 || r.picture >= static_cast<int>(job->pictures.size())) invalid(env, name + ".picture", "an index into inputs");
      const Picture& p = job->pictures[static_cast<size_t>(r.picture)];
      if (r.width < 1 || r.height < 1 || r.x < 0 || r.y < 0 || r.width > p.pixels.width - r.x || r.height > p.pixels.height - r.y)
        invalid(env, name, "a rectangle inside the picture");
      if (r.keepWidth < 1 || r.keepHeight < 1 || r.keepX < r.x || r.keepY < r.y || r.keepWidth > r.x + r.width - r.keepX ||
          r.keepHeight > r.y + r.height - r.keepY)
        invalid(env, name, "a kept part inside the region");
      if (std::min({r.rampLeft, r.rampTop, r.rampRight, r.rampBottom}) < 0 || std::max({r.rampLeft, r.rampTop, r.rampRight, r.rampBottom}) > 1 << 24)
        invalid(env, name, "ramps of at least 0");
      job->regions.push_back(r);
    }
    const double most = numberOf(object, "maxBatchPixels");
    if (!(most >= 0)) invalid(env, "maxBatchPixels", "a number of at least 0");
    job->maxBatchPixels = static_cast<int64_t>(std::min(most, 1e15));
    job->cancel = cancelOf(object, keep);
    auto report = std::make_shared<InferReport>();
    return run(info, keep, [job, report](Device& device) { *report = device.infer(*job); },
               [report](Napi::Env e) {
                 Napi::Object out = Napi::Object::New(e);
                 out.Set("networkSeconds", report->networkSeconds);
                 out.Set("otherSeconds", report->otherSeconds);
                 out.Set("batches", report->batches);
                 out.Set("flops", report->flops);
                 return out;
               });
  }

  Napi::Value train(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsObject()) invalid(env, "train()", "a job");
    const Napi::Object object = info[0].As<Napi::Object>();
    const Graph& graph = core(env).graph;
    KeepAlive keep;
    auto job = std::make_shared<TrainJob>();
    job->batch = intOf(object, "batch");
    job->width = intOf(object, "width");
    job->height = intOf(object, "height");
    const int64_t pixels = samplesOf(env, "train()", job->batch, job->height, job->width);
    Napi::Float32Array lr = floatsOf(env, object.Get("lr"), "lr", pixels);
    Napi::Float32Array hr = floatsOf(env, object.Get("hr"), "hr", pixels * graph.scale() * graph.scale());
    job->lr = lr.Data();
    job->hr = hr.Data();
    keep.insert(keep.end(), {lr, hr});
    job->subnets = intsOf(object, "subnets");
    if (job->subnets.empty()) invalid(env, "subnets", "at least one subnet");
    for (int subnet : job->subnets) subnetOf(env, subnet);
    job->loss = readLoss(env, object.Get("loss"));
    job->learningRate = static_cast<float>(numberOf(object, "learningRate"));
    job->beta1 = static_cast<float>(numberOf(object, "beta1"));
    job->beta2 = static_cast<float>(numberOf(object, "beta2"));
    job->epsilon = static_cast<float>(numberOf(object, "epsilon"));
    job->weightDecay = static_cast<float>(numberOf(object, "weightDecay"));
    job->emaDecay = static_cast<float>(numberOf(object, "emaDecay"));
    job->gradientsOnly = object.Get("gradientsOnly").ToBoolean();
    job->cancel = cancelOf(object, keep);
    auto report = std::make_shared<TrainReport>();
    return run(info, keep, [job, report](Device& device) { *report = device.train(*job); },
               [report](Napi::Env e) {
                 Napi::Object out = Napi::Object::New(e);
                 out.Set("finite", Napi::Boolean::New(e, report->finite));
                 out.Set("loss", report->mean.loss);
                 out.Set("data", report->mean.data);
                 out.Set("balance", report->mean.balance);
                 out.Set("dataGradient", report->mean.dataGradient);
                 out.Set("balanceGradient", report->mean.balanceGradient);
                 out.Set("sigmaGradient", report->mean.sigmaGradient);
                 Napi::Float64Array losses = Napi::Float64Array::New(e, report->losses.size());
                 std::copy(report->losses.begin(), report->losses.end(), losses.Data());
                 out.Set("losses", losses);
                 out.Set("seconds", report->seconds);
                 return out;
               });
  }

  Napi::Value memory(const Napi::CallbackInfo& info) {
    // While a job runs the device changes under us: what it held before.
    if (pending_ == 0) account(info.Env());
    return Napi::Number::New(info.Env(), static_cast<double>(accounted_));
  }

  void dispose(const Napi::CallbackInfo& info) {
    core_.reset();
    if (pending_ == 0) account(info.Env());
  }

  int threads_ = 1, pending_ = 0;
  int64_t accounted_ = 0;
  Napi::ObjectReference subnets_;
  std::shared_ptr<Core> core_;
  std::unique_ptr<Worker> worker_;  // after core_: joined first
};

Napi::Value cpuInfo(const Napi::CallbackInfo& info) {
  const cpu::CpuInfo& found = cpu::cpuInfo();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("name", found.name);
  out.Set("isa", found.isa);
  out.Set("cores", static_cast<double>(std::thread::hardware_concurrency()));
  out.Set("onednn", found.onednn);
  return out;
}

}  // namespace

void registerEngine(Napi::Env env, Napi::Object exports) {
  Engine::define(env, exports);
  exports.Set("cpuInfo", Napi::Function::New(env, cpuInfo, "cpuInfo"));
}

}  // namespace wbsr::bindings

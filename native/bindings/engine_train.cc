// Training of class Engine: each job is submitted on the engine's thread and waited for on a second one, so that a
// pipelined device receives the next job before this one is done.
#include <algorithm>
#include <memory>

#include "bindings/arguments.h"
#include "bindings/batch.h"
#include "bindings/engine.h"
#include "bindings/fields.h"
#include "bindings/loss.h"

namespace wbsr::bindings {
namespace {

Napi::Value reportOf(Napi::Env env, const TrainReport& report) {
  Napi::Object out = Napi::Object::New(env);
  out.Set("finite", Napi::Boolean::New(env, report.finite));
  out.Set("loss", report.mean.loss);
  out.Set("data", report.mean.data);
  out.Set("balance", report.mean.balance);
  out.Set("frequency", report.mean.frequency);
  out.Set("dataGradient", report.mean.dataGradient);
  out.Set("balanceGradient", report.mean.balanceGradient);
  out.Set("sigmaGradient", report.mean.sigmaGradient);
  Napi::Float64Array losses = Napi::Float64Array::New(env, report.losses.size());
  std::copy(report.losses.begin(), report.losses.end(), losses.Data());
  out.Set("losses", losses);
  out.Set("seconds", report.seconds);
  out.Set("parts", report.parts);
  return out;
}

AdamSettings settingsOf(const Napi::Object& object) {
  const auto number = [&](const char* name) { return static_cast<float>(numberOf(object, name)); };
  return {number("learningRate"), number("beta1"),       number("beta2"),
          number("epsilon"),      number("weightDecay"), number("emaDecay")};
}

}  // namespace

std::vector<int> Engine::subnetsOf(const Napi::Object& object) const {
  const Napi::Env env = object.Env();
  std::vector<int> subnets = intsOf(object, "subnets");
  if (subnets.empty()) throwExpected("at least one subnet", "subnets", object.Get("subnets"), env);
  for (int subnet : subnets) subnetOf(env, subnet);
  return subnets;
}

void Engine::readGradientJob(const Napi::Object& object, KeepAlive& keep, GradientJob& job) const {
  const Napi::Env env = object.Env();
  const int scale = core(env).graph.scale();
  job.batch = intOf(object, "batch");
  job.width = intOf(object, "width");
  job.height = intOf(object, "height");
  const int64_t samples = samplesOf(env, "train()", job.batch, job.height, job.width);
  const Napi::Value source = object.Get("source");
  if (source.IsUndefined()) {
    Napi::Float32Array lr = floatsOf(env, object.Get("lr"), "lr", samples);
    Napi::Float32Array hr = floatsOf(env, object.Get("hr"), "hr", samples * scale * scale);
    job.lr = lr.Data();
    job.hr = hr.Data();
    keep.insert(keep.end(), {lr, hr});
  } else {
    if (!source.IsObject()) throwExpected("{ images, crops }", "source", source, env);
    if (!object.Get("lr").IsUndefined() || !object.Get("hr").IsUndefined())
      throwExpected("nothing together with lr and hr", "source", source, env);
    if (job.width != job.height || job.width > 8192 / scale)
      throwExpected("equal numbers of at most " + std::to_string(8192 / scale) + " (with source)", "width and height",
                    std::to_string(job.width) + " and " + std::to_string(job.height), env);
    job.source = readBatchSource(source.As<Napi::Object>(), job.width * scale, scale, keep);
    if (static_cast<int>(job.source->crops.size()) != job.batch)
      throwExpected("one crop for each of the batch", "crops", source.As<Napi::Object>().Get("crops"), env);
  }
  job.subnets = subnetsOf(object);
  job.loss = readLoss(env, object.Get("loss"));
  if (!object.Get("distillation").IsUndefined()) {
    job.distillation = numberOf(object, "distillation");
    if (!(job.distillation >= 0 && job.distillation <= 1))
      throwExpected("a number between 0 and 1", "distillation", object.Get("distillation"), env);
  }
  job.cancel = cancelOf(object, keep);
}

Napi::Value Engine::gradients(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) throwExpected("a job", "gradients()", info[0], info.Env());
  KeepAlive keep;
  auto job = std::make_shared<GradientJob>();
  readGradientJob(info[0].As<Napi::Object>(), keep, *job);
  auto report = std::make_shared<TrainReport>();
  auto ticket = std::make_shared<int64_t>(0);
  return run(
      info.This().As<Napi::Object>(), keep, [job, ticket](Device& device) { *ticket = device.gradients(*job); },
      [report](Napi::Env e) { return reportOf(e, *report); },
      [ticket, report](Device& device) { *report = device.waitGradients(*ticket); });
}

// readGradient(into)
Napi::Value Engine::readGradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Float32Array into = floatsOf(env, info[0], "into", core(env).graph.parameterCount());
  float* values = const_cast<Napi::Float32Array&>(into).Data();
  // An empty value resolves with the last value kept.
  return run(
      info.This().As<Napi::Object>(), {into}, [=](Device& device) { device.getArena(Arena::Gradient, values); },
      [](Napi::Env) { return Napi::Value(); });
}

// writeGradient(values, factor)
Napi::Value Engine::writeGradient(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const int64_t count = core(env).graph.parameterCount();
  const Napi::Float32Array array = floatsOf(env, info[0], "values", count);
  if (!info[1].IsNumber()) throwExpected("a number", "factor", info[1], env);
  float* values = const_cast<Napi::Float32Array&>(array).Data();
  const auto factor = static_cast<float>(info[1].As<Napi::Number>().DoubleValue());
  return run(
      info.This().As<Napi::Object>(), {array},
      [=](Device& device) {
        for (int64_t i = 0; i < count; ++i) values[i] *= factor;
        device.setArena(Arena::Gradient, values);
      },
      [](Napi::Env) { return Napi::Value(); });
}

Napi::Value Engine::apply(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) throwExpected("a job", "apply()", info[0], info.Env());
  const Napi::Object object = info[0].As<Napi::Object>();
  auto job = std::make_shared<UpdateJob>(UpdateJob{subnetsOf(object), settingsOf(object)});
  auto report = std::make_shared<UpdateReport>();
  auto ticket = std::make_shared<int64_t>(0);
  return run(
      info.This().As<Napi::Object>(), {}, [job, ticket](Device& device) { *ticket = device.apply(*job); },
      [report](Napi::Env e) {
        Napi::Object out = Napi::Object::New(e);
        out.Set("finite", Napi::Boolean::New(e, report->finite));
        out.Set("seconds", report->seconds);
        return out;
      },
      [ticket, report](Device& device) { *report = device.waitApply(*ticket); });
}

Napi::Value Engine::train(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) throwExpected("a job", "train()", info[0], info.Env());
  const Napi::Object object = info[0].As<Napi::Object>();
  KeepAlive keep;
  auto job = std::make_shared<TrainJob>();
  readGradientJob(object, keep, *job);
  static_cast<AdamSettings&>(*job) = settingsOf(object);
  auto report = std::make_shared<TrainReport>();
  auto ticket = std::make_shared<StepTicket>();
  return run(
      info.This().As<Napi::Object>(), keep, [job, ticket](Device& device) { *ticket = device.submit(*job); },
      [report](Napi::Env e) { return reportOf(e, *report); },
      [ticket, report](Device& device) { *report = device.wait(*ticket); });
}

}  // namespace wbsr::bindings

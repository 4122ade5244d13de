// Training steps of class Engine, in two parts: submitted on the engine's thread, waited for on a second one, so that a
// pipelined device has the next step before this one is done.
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

}  // namespace

Napi::Value Engine::train(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) invalid(env, "train()", "a job");
  const Napi::Object object = info[0].As<Napi::Object>();
  const int scale = core(env).graph.scale();
  KeepAlive keep;
  auto job = std::make_shared<TrainJob>();
  job->batch = intOf(object, "batch");
  job->width = intOf(object, "width");
  job->height = intOf(object, "height");
  const int64_t samples = samplesOf(env, "train()", job->batch, job->height, job->width);
  const Napi::Value source = object.Get("source");
  if (source.IsUndefined()) {
    Napi::Float32Array lr = floatsOf(env, object.Get("lr"), "lr", samples);
    Napi::Float32Array hr = floatsOf(env, object.Get("hr"), "hr", samples * scale * scale);
    job->lr = lr.Data();
    job->hr = hr.Data();
    keep.insert(keep.end(), {lr, hr});
  } else {
    if (!source.IsObject()) throwExpected("{ images, crops }", "source", source, env);
    if (!object.Get("lr").IsUndefined() || !object.Get("hr").IsUndefined())
      invalid(env, "source", "nothing together with lr and hr");
    if (job->width != job->height || job->width > 8192 / scale)
      invalid(env, "width and height", "equal numbers of at most 8192 / scale (with source)");
    job->source = readBatchSource(source.As<Napi::Object>(), job->width * scale, scale, keep);
    if (static_cast<int>(job->source->crops.size()) != job->batch)
      throwExpected("one crop for each of the batch", "crops", source.As<Napi::Object>().Get("crops"), env);
  }
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
  auto ticket = std::make_shared<int64_t>(0);
  return run(
      info.This().As<Napi::Object>(), keep, [job, ticket](Device& device) { *ticket = device.submit(*job); },
      [report](Napi::Env e) { return reportOf(e, *report); },
      [ticket, report](Device& device) { *report = device.wait(*ticket); });
}

}  // namespace wbsr::bindings

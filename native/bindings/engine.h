// class Engine of lib/native.ts: a graph, its parameters and a device. engine.cc: construction, parameters, forward;
// engine_infer.cc: routing, canvases, inference; engine_train.cc: training steps; engine_exchange.cc: gradients of ranks.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bindings/canvas.h"
#include "bindings/engine_core.h"
#include "bindings/jobs.h"

namespace wbsr::bindings {

// A Float32Array of exactly `length` numbers.
Napi::Float32Array floatsOf(Napi::Env env, const Napi::Value& value, const std::string& name, int64_t length);
// 3 x batch x height x width, each at least 1.
int64_t samplesOf(Napi::Env env, const char* name, int batch, int height, int width);
// job.cancel, kept alive; null where there is none.
const volatile int32_t* cancelOf(const Napi::Object& job, KeepAlive& keep);

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit Engine(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

  using Part = std::function<void(Device&)>;
  using Finish = std::function<Napi::Value(Napi::Env)>;
  // Runs work(device) on the engine's thread, one job at a time in the order of calls. With `wait`, that part follows on a
  // second thread while the first goes on with its next job. `self` is kept alive besides `keep`.
  Napi::Promise run(const Napi::Object& self, KeepAlive keep, Part work, Finish finish, Part wait = nullptr);
  // Frees unused canvases now if no job runs, else with the next job.
  void freeDiscarded();

 private:
  EngineCore& core(Napi::Env env) const;
  // Runs work(device) on this thread; throws while a job runs, because its parameters must not change.
  void whileIdle(Napi::Env env, const Part& work);
  void account(Napi::Env env);
  int subnetOf(Napi::Env env, int subnet) const;
  std::vector<int> subnetsOf(const Napi::Object& object) const;
  void readGradientJob(const Napi::Object& object, KeepAlive& keep, GradientJob& job) const;
  std::vector<Picture> readPictures(const Napi::Object& job, KeepAlive& keep,
                                    std::vector<std::shared_ptr<HeldCanvas>>& canvases) const;
  std::vector<Region> readRegions(const Napi::Object& job, const std::vector<Picture>& pictures) const;

  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value subnets(const Napi::CallbackInfo& info);
  Napi::Value parameters(const Napi::CallbackInfo& info);
  Napi::Value parameterCount(const Napi::CallbackInfo& info);
  Napi::Value minimumSize(const Napi::CallbackInfo& info);
  Napi::Value sizeMultiple(const Napi::CallbackInfo& info);
  void initialise(const Napi::CallbackInfo& info);
  void setArena(const Napi::CallbackInfo& info);
  Napi::Value getArena(const Napi::CallbackInfo& info);
  Napi::Value readWeights(const Napi::CallbackInfo& info);
  Napi::Value getSteps(const Napi::CallbackInfo& info);
  void setSteps(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value route(const Napi::CallbackInfo& info);
  Napi::Value createCanvas(const Napi::CallbackInfo& info);
  Napi::Value infer(const Napi::CallbackInfo& info);
  Napi::Value gradients(const Napi::CallbackInfo& info);
  Napi::Value readGradient(const Napi::CallbackInfo& info);
  Napi::Value writeGradient(const Napi::CallbackInfo& info);
  Napi::Value apply(const Napi::CallbackInfo& info);
  Napi::Value train(const Napi::CallbackInfo& info);
  Napi::Value exchange(const Napi::CallbackInfo& info);
  Napi::Value exchangeId(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  DeviceFacts facts_;  // read once: later the device may be busy
  int pending_ = 0;
  int64_t accounted_ = 0;
  Napi::ObjectReference subnets_;
  std::shared_ptr<Canvases> canvases_ = std::make_shared<Canvases>();
  std::shared_ptr<EngineCore> core_;
  // After core_, so that they are joined first. waiter_ is made with the first job of two parts; worker_ posts to it.
  std::unique_ptr<Worker> waiter_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace wbsr::bindings

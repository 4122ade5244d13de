#include "bindings/canvas.h"

#include <utility>

#include "bindings/arguments.h"
#include "bindings/engine.h"
#include "bindings/fields.h"
#include "bindings/pixels.h"

namespace wbsr::bindings {
namespace {

constexpr napi_type_tag kCanvasTag = {0x7762737243616e76ull, 0x91f3c2d05b6e4a18ull};
// A property instead of a strong reference: a WeakMap from engine to canvas must not keep its engine alive.
constexpr const char* kEngine = "engine";

// Passed from make() to the constructor.
struct Parts {
  std::shared_ptr<HeldCanvas> held;
  std::shared_ptr<Canvases> canvases;
};

Engine& engineOf(const Napi::Object& canvas) { return *Engine::Unwrap(canvas.Get(kEngine).As<Napi::Object>()); }

}  // namespace

int64_t Canvases::bytes() const {
  int64_t sum = 0;
  for (const CanvasHandle* handle : handles_) sum += handle->bytes();
  return sum;
}

void Canvases::account(Napi::Env env) {
  const int64_t now = bytes();
  Napi::MemoryManagement::AdjustExternalMemory(env, now - accounted_);
  accounted_ = now;
}

void Canvases::dispose(Napi::Env env) {
  for (CanvasHandle* handle : handles_) handle->release();
  handles_.clear();
  account(env);
}

Napi::FunctionReference* CanvasHandle::define(Napi::Env env) {
  const Napi::Function made =
      DefineClass(env, "Canvas",
                  {InstanceAccessor<&CanvasHandle::width>("width"), InstanceAccessor<&CanvasHandle::rows>("rows"),
                   InstanceMethod<&CanvasHandle::move>("move"), InstanceMethod<&CanvasHandle::finish>("finish"),
                   InstanceMethod<&CanvasHandle::dispose>("dispose")});
  auto* reference = new Napi::FunctionReference(Napi::Persistent(made));
  reference->SuppressDestruct();  // goes with the environment
  return reference;
}

Napi::Object CanvasHandle::make(const Napi::FunctionReference& canvasClass, const Napi::Object& engine,
                                std::shared_ptr<HeldCanvas> held, std::shared_ptr<Canvases> canvases) {
  const Napi::Env env = engine.Env();
  Parts parts{std::move(held), std::move(canvases)};
  Napi::Object canvas = canvasClass.New({Napi::External<Parts>::New(env, &parts)});
  canvas.DefineProperty(Napi::PropertyDescriptor::Value(kEngine, engine, napi_default));
  canvas.TypeTag(&kCanvasTag);
  return canvas;
}

std::shared_ptr<HeldCanvas> CanvasHandle::heldBy(const Napi::Value& value, const std::string& name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kCanvasTag))
    throwExpected("a canvas", name, value, value.Env());
  return Unwrap(value.As<Napi::Object>())->held(value.Env());
}

CanvasHandle::CanvasHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CanvasHandle>(info) {
  if (!info[0].IsExternal()) throwError(info.Env(), "WBSR_INVALID_OPTION", "Canvases are made by Engine.createCanvas");
  Parts& parts = *info[0].As<Napi::External<Parts>>().Data();
  held_ = std::move(parts.held);
  width_ = held_->width;
  rows_ = held_->rows;
  canvases_ = std::move(parts.canvases);
  canvases_->add(this);
}

CanvasHandle::~CanvasHandle() {
  if (canvases_) canvases_->remove(this);
}

void CanvasHandle::Finalize(Napi::Env env) {
  release();
  if (canvases_) canvases_->account(env);
}

void CanvasHandle::ready(Napi::Env env) {
  if (!held_) return;  // disposed before
  bytes_ = held_->canvas->bytes();
  canvases_->account(env);
}

const std::shared_ptr<HeldCanvas>& CanvasHandle::held(Napi::Env env) const {
  if (!held_ || bytes_ == 0) throwError(env, "WBSR_DISPOSED", "the canvas was disposed");
  return held_;
}

Napi::Value CanvasHandle::width(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(width_));
}

Napi::Value CanvasHandle::rows(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(rows_));
}

// move(from, kept, rows)
Napi::Value CanvasHandle::move(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto canvas = held(env);
  const int most = static_cast<int>(canvas->rows);
  const int rows = integerArgument(info[2], "rows", 0, most, env);
  const int kept = integerArgument(info[1], "kept", 0, rows, env);
  const int from = integerArgument(info[0], "from", 0, most - kept, env);
  const Napi::Object self = info.This().As<Napi::Object>();
  return engineOf(self).run(
      self, {}, [=](Device&) { canvas->canvas->move(from, kept, rows); }, [](Napi::Env e) { return e.Undefined(); });
}

// finish(first, rows, channels, alpha, bytes, into?)
Napi::Value CanvasHandle::finish(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto canvas = held(env);
  const int first = integerArgument(info[0], "first", 0, static_cast<int>(canvas->rows) - 1, env);
  const int rows = integerArgument(info[1], "rows", 1, static_cast<int>(canvas->rows) - first, env);
  const int channels = integerArgument(info[2], "channels", 1, 4, env);
  const float* alpha = alphaArgument(info[3], channels, rows * canvas->width, env);
  const Sample type = sampleArgument(info[4], env);
  const Result out =
      resultArgument(info[5], type, static_cast<double>(rows) * static_cast<double>(canvas->width) * channels, env);
  const Napi::Object self = info.This().As<Napi::Object>();
  void* data = out.data;
  auto ticket = std::make_shared<int64_t>(0);
  return engineOf(self).run(
      self, {info[3], out.array},
      [=](Device&) { *ticket = canvas->canvas->submitFinish(first, rows, channels, alpha, type, data); },
      [](Napi::Env) { return Napi::Value(); },  // resolves with the last value kept: the pixels
      [=](Device&) { canvas->canvas->waitFinish(*ticket); });
}

void CanvasHandle::dispose(const Napi::CallbackInfo& info) {
  release();
  canvases_->account(info.Env());
  engineOf(info.This().As<Napi::Object>()).freeDiscarded();
}

}  // namespace wbsr::bindings

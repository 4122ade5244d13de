// NativeCanvas of lib/native.ts: a handle to a canvas in the memory of an engine's device.
#pragma once
#include <napi.h>

#include <memory>
#include <set>
#include <string>

#include "bindings/engine_core.h"

namespace wbsr::bindings {

class CanvasHandle;

// The canvases of one engine that are not yet collected; JavaScript thread only. Engine and handles share it, since
// either may be collected first.
class Canvases {
 public:
  void add(CanvasHandle* handle) { handles_.insert(handle); }
  void remove(CanvasHandle* handle) { handles_.erase(handle); }
  int64_t bytes() const;
  // Reports the change of memory to V8.
  void account(Napi::Env env);
  // Releases all: the memory is freed when the last job that uses it ends.
  void dispose(Napi::Env env);

 private:
  std::set<CanvasHandle*> handles_;
  int64_t accounted_ = 0;
};

class CanvasHandle : public Napi::ObjectWrap<CanvasHandle> {
 public:
  // The class, for make(); lives as long as the environment.
  static Napi::FunctionReference* define(Napi::Env env);
  static Napi::Object make(const Napi::FunctionReference& canvasClass, const Napi::Object& engine,
                           std::shared_ptr<HeldCanvas> held, std::shared_ptr<Canvases> canvases);
  // The canvas of a JavaScript value. Throws WBSR_INVALID_OPTION, WBSR_DISPOSED.
  static std::shared_ptr<HeldCanvas> heldBy(const Napi::Value& value, const std::string& name);

  explicit CanvasHandle(const Napi::CallbackInfo& info);
  ~CanvasHandle() override;
  void Finalize(Napi::Env env) override;

  // Called when the device has made the canvas.
  void ready(Napi::Env env);
  int64_t bytes() const { return held_ ? bytes_ : 0; }
  void release() { held_.reset(); }

 private:
  // Throws WBSR_DISPOSED.
  const std::shared_ptr<HeldCanvas>& held(Napi::Env env) const;

  Napi::Value width(const Napi::CallbackInfo& info);
  Napi::Value rows(const Napi::CallbackInfo& info);
  Napi::Value move(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<HeldCanvas> held_;
  std::shared_ptr<Canvases> canvases_;
  int64_t width_ = 0, rows_ = 0;
  int64_t bytes_ = 0;  // once it is ready
};

}  // namespace wbsr::bindings

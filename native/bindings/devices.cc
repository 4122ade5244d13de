// deviceKinds and findDevices of lib/native.ts, from the registry of core/device_kind.h.
#include "bindings/devices.h"

#include "bindings/arguments.h"
#include "bindings/register.h"

namespace wbsr::bindings {

const DeviceKind& deviceKindArgument(const Napi::Value& value, const std::string& name, Napi::Env env) {
  std::vector<std::string> names;
  for (const DeviceKind& kind : deviceKinds()) {
    if (value.IsString() && value.As<Napi::String>().Utf8Value() == kind.name) return kind;
    names.insert(names.begin(), kind.name);
  }
  throwExpected(oneOf(names), name, value, env);
}

namespace {

Napi::Value describeKinds(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array out = Napi::Array::New(env);
  for (const DeviceKind& kind : deviceKinds()) {
    Napi::Array precisions = Napi::Array::New(env);
    for (const Precision precision : kind.precisions)
      precisions[precisions.Length()] = Napi::String::New(env, nameOf(precision));
    Napi::Object item = Napi::Object::New(env);
    item.Set("name", kind.name);
    item.Set("label", kind.label);
    item.Set("precisions", precisions);
    item.Set("numbered", Napi::Boolean::New(env, kind.numbered));
    item.Set("autotunes", Napi::Boolean::New(env, kind.autotunes));
    item.Set("exchange", kind.exchange);
    out[out.Length()] = item;
  }
  return out;
}

// findDevices(kind)
Napi::Value findDevices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const FoundDevices& found = deviceKindArgument(info[0], "kind", env).find();
  Napi::Array devices = Napi::Array::New(env);
  for (const FoundDevice& device : found.devices) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("index", device.index);
    item.Set("name", device.name);
    item.Set("details", device.details);
    item.Set("memory", static_cast<double>(device.memory));
    item.Set("threads", device.threads);
    devices[devices.Length()] = item;
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("devices", devices);
  out.Set("reason", found.reason);
  return out;
}

}  // namespace

void registerDevices(Napi::Env env, Napi::Object exports) {
  exports.Set("deviceKinds", Napi::Function::New(env, describeKinds, "deviceKinds"));
  exports.Set("findDevices", Napi::Function::New(env, findDevices, "findDevices"));
}

}  // namespace wbsr::bindings

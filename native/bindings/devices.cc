// cudaInfo of lib/native.ts: what the CUDA plugin found. (cpuInfo is in engine.cc.)
#include "bindings/cuda.h"
#include "bindings/register.h"

namespace wbsr::bindings {
namespace {

Napi::Value cudaInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const cuda::CudaState& state = cudaState();
  Napi::Array devices = Napi::Array::New(env);
  for (size_t i = 0; i < state.devices.size(); ++i) {
    const cuda::CudaFacts& facts = state.devices[i];
    Napi::Object device = Napi::Object::New(env);
    device.Set("index", facts.index);
    device.Set("name", facts.name);
    device.Set("details", facts.details);
    device.Set("memory", static_cast<double>(facts.memory));
    devices[static_cast<uint32_t>(i)] = device;
  }
  Napi::Object out = Napi::Object::New(env);
  out.Set("devices", devices);
  out.Set("reason", state.reason);
  return out;
}

}  // namespace

void registerDevices(Napi::Env env, Napi::Object exports) {
  exports.Set("cudaInfo", Napi::Function::New(env, cudaInfo, "cudaInfo"));
}

}  // namespace wbsr::bindings

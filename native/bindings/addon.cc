// The module's entry: every file of bindings/ registers its functions here. No arithmetic in this folder.
#include "bindings/register.h"
#include "bindings/jobs.h"

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  wbsr::bindings::initialiseJobs(env);
  exports.Set("stopJobs", Napi::Function::New(
                              env, [](const Napi::CallbackInfo&) { wbsr::bindings::stopJobs(); }, "stopJobs"));
  wbsr::bindings::registerEngine(env, exports);
  wbsr::bindings::registerDevices(env, exports);
  wbsr::bindings::registerImages(env, exports);
  wbsr::bindings::registerLoss(env, exports);
  wbsr::bindings::registerTiles(env, exports);
  wbsr::bindings::registerCommunicator(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(wbsr, initialise)

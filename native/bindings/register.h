// One function per file of bindings/, called by addon.cc.
#pragma once
#include <napi.h>

namespace wbsr::bindings {

void registerEngine(Napi::Env env, Napi::Object exports);   // engine.cc: Engine
void registerDevices(Napi::Env env, Napi::Object exports);  // devices.cc: deviceKinds, findDevices
void registerImages(Napi::Env env,
                    Napi::Object exports);               // images.cc: resize, metrics, gradient vectors, batches, rows
void registerLoss(Napi::Env env, Napi::Object exports);  // loss.cc: fitMixture, evaluateLoss
void registerCommunicator(Napi::Env env, Napi::Object exports);  // communicator.cc: Communicator, findMpi, addFloats
void registerTiles(Napi::Env env, Napi::Object exports);         // tiles.cc: squaredErrors, averageTiles

}  // namespace wbsr::bindings

// NativeLoss (lib/native.ts) as the native side knows it; shared by loss.cc and engine.cc.
#pragma once
#include <napi.h>

#include "core/loss_spec.h"

namespace wbsr::bindings {

// Copies everything out of JavaScript. Throws a JavaScript Error with code WBSR_INVALID_OPTION.
LossSpec readLoss(Napi::Env env, const Napi::Value& value);

}  // namespace wbsr::bindings

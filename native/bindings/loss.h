// Reads NativeLoss of lib/native.ts, for loss.cc and engine_train.cc.
#pragma once
#include <napi.h>

#include "core/loss_spec.h"

namespace wbsr::bindings {

// Copies everything out of JavaScript. Throws a JavaScript Error with code WBSR_INVALID_OPTION.
LossSpec readLoss(Napi::Env env, const Napi::Value& value);

}  // namespace wbsr::bindings

// Kinds of device as JavaScript names them.
#pragma once
#include <napi.h>

#include <string>

#include "core/device_kind.h"

namespace wbsr::bindings {

// The registered kind of that name. Throws WBSR_INVALID_OPTION.
const DeviceKind& deviceKindArgument(const Napi::Value& value, const std::string& name, Napi::Env env);

}  // namespace wbsr::bindings

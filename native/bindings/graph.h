// Reads NativeGraph of lib/native.ts.
#pragma once
#include <napi.h>

#include "core/graph.h"

namespace wbsr::bindings {

// Throws a JavaScript Error with code WBSR_INVALID_OPTION, or the wbsr::Error of the Graph's own checks.
Graph readGraph(const Napi::Object& graph);

}  // namespace wbsr::bindings

// Reads BatchSource of lib/native.ts, for assembleBatch and Engine.train.
#pragma once
#include <napi.h>

#include <memory>

#include "bindings/jobs.h"
#include "core/device.h"

namespace wbsr::bindings {

// { images, lrImages?, crops } of patches of `patch` HR pixels, checked so that no crop leaves its image. The pixels stay
// where they are: their arrays are added to `keep`.
std::shared_ptr<const BatchSource> readBatchSource(const Napi::Object& object, int patch, int scale, KeepAlive& keep);

}  // namespace wbsr::bindings

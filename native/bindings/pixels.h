// Pixel arrays between JavaScript and native: any of Uint8Array, Uint8ClampedArray, Uint16Array and Float32Array.
#pragma once
#include <string>

#include "bindings/arguments.h"
#include "core/pixels.h"

namespace wbsr::bindings {

inline constexpr int kMaxSide = 1 << 24;

struct Pixels {
  View view;
  bool clamped = false;  // Uint8ClampedArray
  size_t length = 0;
};

// A pixel array of any length; the caller checks it.
inline Pixels pixelArray(const Napi::Value& value, const std::string& name, Napi::Env env) {
  Pixels pixels;
  if (!value.IsTypedArray()) throwExpected("a Uint8Array, Uint16Array or Float32Array", name, value, env);
  Napi::TypedArray array = value.As<Napi::TypedArray>();
  switch (array.TypedArrayType()) {
    case napi_uint8_clamped_array: pixels.clamped = true; [[fallthrough]];
    case napi_uint8_array: pixels.view.type = Sample::U8; break;
    case napi_uint16_array: pixels.view.type = Sample::U16; break;
    case napi_float32_array: pixels.view.type = Sample::F32; break;
    default: throwExpected("a Uint8Array, Uint16Array or Float32Array", name, value, env);
  }
  pixels.view.data = elementsOf(array);
  pixels.length = array.ElementLength();
  return pixels;
}

// data, width, height, channels from argument `at` on. The array must hold exactly that.
inline Pixels imageArgument(const Napi::CallbackInfo& info, size_t at, const char* name = "data") {
  Napi::Env env = info.Env();
  Pixels pixels = pixelArray(info[at], name, env);
  View& view = pixels.view;
  view.width = integerArgument(info[at + 1], "width", 1, kMaxSide, env);
  view.height = integerArgument(info[at + 2], "height", 1, kMaxSide, env);
  view.channels = integerArgument(info[at + 3], "channels", 1, 4, env);
  const double samples = static_cast<double>(view.width) * view.height * view.channels;
  if (static_cast<double>(pixels.length) != samples)
    throwExpected(std::to_string(static_cast<int64_t>(samples)) + " samples (width x height x channels)", name,
                  info[at], env);
  return pixels;
}

struct Result {
  Napi::TypedArray array;
  void* data;
};

// A new typed array: kept alive by the job, handed out by its finish.
inline Result newArray(Napi::Env env, Sample type, bool clamped, double length) {
  requireMemory(env, length, sampleBytes(type));
  const size_t n = static_cast<size_t>(length);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, n * sampleBytes(type));
  if (type == Sample::U16) return {Napi::Uint16Array::New(env, n, buffer, 0), buffer.Data()};
  if (type == Sample::F32) return {Napi::Float32Array::New(env, n, buffer, 0), buffer.Data()};
  return {Napi::Uint8Array::New(env, n, buffer, 0, clamped ? napi_uint8_clamped_array : napi_uint8_array),
          buffer.Data()};
}

// The alpha plane (pixels) of 2 or 4 channels, null of others.
inline const float* alphaArgument(const Napi::Value& value, int channels, int64_t pixels, Napi::Env env) {
  if (channels % 2 == 0) return floatsArgument(value, "alpha", pixels, env);
  if (!value.IsNull()) throwExpected("null (no alpha channel)", "alpha", value, env);
  return nullptr;
}

// bytes: 1, 2 or 4.
inline Sample sampleArgument(const Napi::Value& value, Napi::Env env) {
  const int bytes = integerArgument(value, "bytes", 1, 4, env);
  if (bytes == 3) throwExpected("1, 2 or 4", "bytes", value, env);
  return bytes == 1 ? Sample::U8 : bytes == 2 ? Sample::U16 : Sample::F32;
}

// `into`, an array of `length` samples of that type, or where it is undefined a new one.
inline Result resultArgument(const Napi::Value& into, Sample type, double length, Napi::Env env) {
  if (into.IsUndefined()) return newArray(env, type, false, length);
  const Pixels pixels = pixelArray(into, "into", env);
  if (pixels.view.type != type || static_cast<double>(pixels.length) != length)
    throwExpected(std::to_string(static_cast<int64_t>(length)) + " samples of the wanted type", "into", into, env);
  return {into.As<Napi::TypedArray>(), const_cast<void*>(pixels.view.data)};
}

}  // namespace wbsr::bindings

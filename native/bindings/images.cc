// JavaScript face of cpu/image.h: checks arguments, allocates results here (array buffers belong to this thread),
// computes on the environment's image worker.
#include <limits>
#include <memory>
#include <utility>

#include "bindings/arguments.h"
#include "bindings/jobs.h"
#include "bindings/register.h"
#include "cpu/image.h"

namespace wbsr::bindings {

namespace {

using image::Sample;
using image::View;

constexpr int kMaxSide = 1 << 24;

struct Pixels {
  View view;
  bool clamped = false;  // Uint8ClampedArray
  size_t length = 0;
};

// A pixel array; its length is checked by whoever knows the size.
Pixels pixelArray(const Napi::Value& value, const std::string& name, Napi::Env env) {
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
Pixels imageArgument(const Napi::CallbackInfo& info, size_t at, const char* name = "data") {
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
Result newArray(Napi::Env env, Sample type, bool clamped, double length) {
  requireMemory(env, length, sampleBytes(type));
  const size_t n = static_cast<size_t>(length);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, n * sampleBytes(type));
  if (type == Sample::U16) return {Napi::Uint16Array::New(env, n, buffer, 0), buffer.Data()};
  if (type == Sample::F32) return {Napi::Float32Array::New(env, n, buffer, 0), buffer.Data()};
  return {Napi::Uint8Array::New(env, n, buffer, 0, clamped ? napi_uint8_clamped_array : napi_uint8_array),
          buffer.Data()};
}

image::Border borderArgument(const Napi::Value& value, Napi::Env env) {
  return static_cast<image::Border>(integerArgument(value, "border", 0, 1, env));
}

Napi::Value resizeBicubic(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Pixels in = imageArgument(info, 0);
  const int width = integerArgument(info[4], "outWidth", 1, kMaxSide, env);
  const int height = integerArgument(info[5], "outHeight", 1, kMaxSide, env);
  const image::Border border = borderArgument(info[6], env);
  const View view = in.view;
  const Result out = newArray(env, view.type, in.clamped, static_cast<double>(width) * height * view.channels);
  void* data = out.data;
  return runJobInto(env, imageWorker(env), {info[0]}, out.array, [=] {
    if (view.channels == 2 || view.channels == 4) return image::resizeWithAlpha(view, data, width, height, border);
    image::resizeBicubic(view, data, width, height, border);
  });
}

using Measure = double (*)(const uint8_t*, const uint8_t*, int, int, int, bool, int);

// psnr and ssim: a, b, width, height, channels, y, shave.
template <Measure measure, int smallest>
Napi::Value compare(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Pixels a = pixelArray(info[0], "a", env);
  const Pixels b = imageArgument(info, 1, "b");
  const View view = b.view;
  if (a.view.type != Sample::U8 || a.length != b.length) throwExpected("as many 8-bit samples as b has", "a", info[0], env);
  if (view.type != Sample::U8) throwExpected("8-bit samples", "b", info[1], env);
  const bool y = booleanArgument(info[5], "y", env);
  if (y && view.channels % 2 == 0) throwExpected("1 or 3 (y)", "channels", info[4], env);
  const int side = view.width < view.height ? view.width : view.height;
  if (side < smallest) throwExpected("an image of at least 11 x 11 pixels", "b", info[1], env);
  const int shave = integerArgument(info[6], "shave", 0, (side - smallest) / 2, env);
  auto value = std::make_shared<double>(0);
  const auto* first = static_cast<const uint8_t*>(a.view.data);
  const auto* second = static_cast<const uint8_t*>(view.data);
  return runJob(
      env, imageWorker(env), {info[0], info[1]},
      [=] { *value = measure(first, second, view.width, view.height, view.channels, y, shave); },
      [value](Napi::Env e) -> Napi::Value { return Napi::Number::New(e, *value); });
}

Napi::Value gradientVectors(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const View view = imageArgument(info, 0).view;
  const auto* rects = arrayArgument<int32_t>(info[4], "rects", napi_int32_array, "Int32Array", -1, env);
  const size_t length = info[4].As<Napi::TypedArray>().ElementLength();
  if (length % 4 != 0) throwExpected("4 numbers per rectangle", "rects", info[4], env);
  const int count = static_cast<int>(length / 4);
  for (int i = 0; i < count; ++i) {
    const int32_t* r = rects + 4 * i;
    if (r[0] < 0 || r[1] < 0 || r[2] < 1 || r[3] < 1 || r[2] > view.width - r[0] || r[3] > view.height - r[1])
      throwError(env, "WBSR_INVALID_OPTION",
                 "Expected a rectangle inside " + std::to_string(view.width) + " x " + std::to_string(view.height) +
                     " for rects[" + std::to_string(i) + "] but received " + std::to_string(r[0]) + ", " +
                     std::to_string(r[1]) + ", " + std::to_string(r[2]) + " x " + std::to_string(r[3]));
  }
  Napi::Float64Array out = Napi::Float64Array::New(env, length);
  double* vectors = out.Data();
  return runJobInto(env, imageWorker(env), {info[0], info[4]}, out, [=] { image::gradientVectors(view, rects, count, vectors); });
}

Napi::Value toRgbFloat(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const View view = imageArgument(info, 0).view;
  const Result out = newArray(env, Sample::F32, false, static_cast<double>(view.width) * view.height * 3);
  auto* data = static_cast<float*>(out.data);
  return runJobInto(env, imageWorker(env), {info[0]}, out.array, [=] { image::toRgbFloat(view, data); });
}

Napi::Value toAlphaFloat(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const View view = imageArgument(info, 0).view;
  const Result out = newArray(env, Sample::F32, false, static_cast<double>(view.width) * view.height);
  auto* data = static_cast<float*>(out.data);
  return runJobInto(env, imageWorker(env), {info[0]}, out.array, [=] { image::toAlphaFloat(view, data); });
}

// sum, weight, width, firstRow, rows, channels, alpha, bytes
Napi::Value finishRows(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int width = integerArgument(info[2], "width", 1, kMaxSide, env);
  const float* weight = floatsArgument(info[1], "weight", -1, env);
  const int64_t pixels = static_cast<int64_t>(info[1].As<Napi::TypedArray>().ElementLength());
  if (pixels == 0 || pixels % width != 0) throwExpected("whole rows", "weight", info[1], env);
  const float* sum = floatsArgument(info[0], "sum", pixels * 3, env);
  const int height = static_cast<int>(pixels / width);
  const int firstRow = integerArgument(info[3], "firstRow", 0, height - 1, env);
  const int rows = integerArgument(info[4], "rows", 1, height - firstRow, env);
  const int channels = integerArgument(info[5], "channels", 1, 4, env);
  const bool hasAlpha = channels % 2 == 0;
  if (!hasAlpha && !info[6].IsNull()) throwExpected("null (no alpha channel)", "alpha", info[6], env);
  const float* alpha = hasAlpha ? floatsArgument(info[6], "alpha", static_cast<int64_t>(rows) * width, env) : nullptr;
  const int bytes = integerArgument(info[7], "bytes", 1, 4, env);
  if (bytes == 3) throwExpected("1, 2 or 4", "bytes", info[7], env);
  const Sample type = bytes == 1 ? Sample::U8 : bytes == 2 ? Sample::U16 : Sample::F32;
  const double samples = static_cast<double>(rows) * width * channels;
  Napi::Object result;
  void* data = nullptr;
  if (info[8].IsUndefined()) {
    const Result out = newArray(env, type, false, samples);
    result = out.array;
    data = out.data;
  } else {
    const Pixels into = pixelArray(info[8], "into", env);
    if (into.view.type != type || static_cast<double>(into.length) != samples)
      throwExpected(std::to_string(static_cast<int64_t>(samples)) + " samples of the wanted type", "into", info[8], env);
    result = info[8].As<Napi::Object>();
    data = const_cast<void*>(static_cast<const void*>(into.view.data));
  }
  return runJobInto(env, imageWorker(env), {info[0], info[1], info[6]}, result,
                     [=] { image::finishRows(sum, weight, width, firstRow, rows, channels, alpha, type, data); });
}

// data, width, rows, channels, previous
Napi::Value pngFilterRows(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const View view = imageArgument(info, 0).view;
  if (view.type == Sample::F32) throwExpected("a Uint8Array or Uint16Array", "data", info[0], env);
  const void* previous = nullptr;
  if (!info[4].IsNull()) {
    const Pixels row = pixelArray(info[4], "previous", env);
    if (row.view.type != view.type || row.length != static_cast<size_t>(view.width) * view.channels)
      throwExpected("one row like those of data", "previous", info[4], env);
    previous = row.view.data;
  }
  const double rowBytes = 1.0 + static_cast<double>(view.width) * view.channels * sampleBytes(view.type);
  const Result out = newArray(env, Sample::U8, false, rowBytes * view.height);
  auto* data = static_cast<uint8_t*>(out.data);
  return runJobInto(env, imageWorker(env), {info[0], info[4]}, out.array, [=] { image::pngFilterRows(view, previous, data); });
}

// An array of { data, width, height }, uint8 RGB.
std::vector<View> pictures(const Napi::Value& value, const char* name, KeepAlive& keep, Napi::Env env) {
  if (!value.IsArray() || value.As<Napi::Array>().Length() == 0) throwExpected("a non-empty array", name, value, env);
  Napi::Array array = value.As<Napi::Array>();
  std::vector<View> views;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const std::string item = std::string(name) + "[" + std::to_string(i) + "]";
    Napi::Value entry = array[i];
    if (!entry.IsObject()) throwExpected("{ data, width, height }", item, entry, env);
    Napi::Object object = entry.As<Napi::Object>();
    Napi::Value data = object.Get("data");
    Pixels pixels = pixelArray(data, item + ".data", env);
    View& view = pixels.view;
    view.width = integerArgument(object.Get("width"), item + ".width", 1, kMaxSide, env);
    view.height = integerArgument(object.Get("height"), item + ".height", 1, kMaxSide, env);
    view.channels = 3;
    const size_t samples = static_cast<size_t>(view.width) * view.height * 3;
    if (view.type != Sample::U8 || pixels.length != samples)
      throwExpected(std::to_string(samples) + " 8-bit samples (width x height x 3)", item + ".data", data, env);
    views.push_back(view);
    keep.push_back(data);
  }
  return views;
}

Napi::Value assembleBatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsObject()) throwExpected("an object", "spec", info[0], env);
  Napi::Object object = info[0].As<Napi::Object>();
  auto spec = std::make_shared<image::BatchSpec>();
  KeepAlive keep;
  spec->scale = integerArgument(object.Get("scale"), "scale", 1, 16, env);
  spec->patch = integerArgument(object.Get("patchSize"), "patchSize", 1, 8192, env);
  if (spec->patch % spec->scale != 0) throwExpected("a multiple of scale", "patchSize", object.Get("patchSize"), env);
  spec->images = pictures(object.Get("images"), "images", keep, env);
  const Napi::Value lrImages = object.Get("lrImages");
  if (!lrImages.IsUndefined()) {
    spec->lrImages = pictures(lrImages, "lrImages", keep, env);
    if (spec->lrImages.size() != spec->images.size()) throwExpected("one picture per image", "lrImages", lrImages, env);
  }
  const Napi::Value crops = object.Get("crops");
  if (!crops.IsArray() || crops.As<Napi::Array>().Length() == 0) throwExpected("a non-empty array", "crops", crops, env);
  Napi::Array list = crops.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::string name = "crops[" + std::to_string(i) + "]";
    Napi::Value entry = list[i];
    if (!entry.IsObject()) throwExpected("an object", name, entry, env);
    Napi::Object item = entry.As<Napi::Object>();
    image::Crop crop;
    crop.image = integerArgument(item.Get("image"), name + ".image", 0, static_cast<int>(spec->images.size()) - 1, env);
    const View& view = spec->images[crop.image];
    if (view.width < spec->patch || view.height < spec->patch)
      throwExpected("an image of at least patchSize", name + ".image", item.Get("image"), env);
    crop.x = integerArgument(item.Get("x"), name + ".x", 0, view.width - spec->patch, env);
    crop.y = integerArgument(item.Get("y"), name + ".y", 0, view.height - spec->patch, env);
    crop.flipX = booleanArgument(item.Get("flipX"), name + ".flipX", env);
    crop.flipY = booleanArgument(item.Get("flipY"), name + ".flipY", env);
    crop.transpose = booleanArgument(item.Get("transpose"), name + ".transpose", env);
    if (!spec->lrImages.empty()) {
      const View& lr = spec->lrImages[crop.image];
      if (crop.x % spec->scale != 0) throwExpected("a multiple of scale (with lrImages)", name + ".x", item.Get("x"), env);
      if (crop.y % spec->scale != 0) throwExpected("a multiple of scale (with lrImages)", name + ".y", item.Get("y"), env);
      if (crop.x + spec->patch > lr.width * spec->scale || crop.y + spec->patch > lr.height * spec->scale)
        throwExpected("a crop inside the LR image", name, entry, env);
    }
    spec->crops.push_back(crop);
  }
  const double hrArea = static_cast<double>(spec->patch) * spec->patch * 3 * static_cast<double>(spec->crops.size());
  const Result hr = newArray(env, Sample::F32, false, hrArea);
  const Result lr = newArray(env, Sample::F32, false, hrArea / spec->scale / spec->scale);
  Napi::Object result = Napi::Object::New(env);
  result.Set("lr", lr.array);
  result.Set("hr", hr.array);
  auto *lrData = static_cast<float*>(lr.data), *hrData = static_cast<float*>(hr.data);
  return runJobInto(env, imageWorker(env), keep, result, [=] { image::assembleBatch(*spec, lrData, hrData); });
}

}  // namespace

void registerImages(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("resizeBicubic", resizeBicubic);
  add("psnr", compare<image::psnr, 1>);
  add("ssim", compare<image::ssim, 11>);
  add("gradientVectors", gradientVectors);
  add("assembleBatch", assembleBatch);
  add("toRgbFloat", toRgbFloat);
  add("toAlphaFloat", toAlphaFloat);
  add("finishRows", finishRows);
  add("pngFilterRows", pngFilterRows);
}

}  // namespace wbsr::bindings

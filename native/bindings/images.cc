// image/image.h for JavaScript: arguments are checked and results allocated on the JavaScript thread (which owns array
// buffers); the environment's image worker computes.
#include <limits>
#include <memory>
#include <utility>

#include "bindings/arguments.h"
#include "bindings/batch.h"
#include "bindings/jobs.h"
#include "bindings/pixels.h"
#include "bindings/register.h"
#include "image/image.h"

namespace wbsr::bindings {

namespace {

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

// height, outHeight, first, rows, border
Napi::Value resizeSpan(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int height = integerArgument(info[0], "height", 1, kMaxSide, env);
  const int outHeight = integerArgument(info[1], "outHeight", 1, kMaxSide, env);
  const int first = integerArgument(info[2], "first", 0, outHeight - 1, env);
  const int rows = integerArgument(info[3], "rows", 1, outHeight - first, env);
  const image::RowSpan span = image::resizeSpan(height, outHeight, first, rows, borderArgument(info[4], env));
  Napi::Array pair = Napi::Array::New(env, 2);
  pair.Set(0u, span.top);
  pair.Set(1u, span.bottom);
  return pair;
}

// data, width, height (rows of data), channels, top, fullHeight, outWidth, outHeight, first, rows, border, weighted
Napi::Value resizeBicubicRows(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const View view = imageArgument(info, 0).view;
  image::RowPart part = {};
  part.height = integerArgument(info[5], "fullHeight", view.height, kMaxSide, env);
  part.top = integerArgument(info[4], "top", 0, part.height - view.height, env);
  const int width = integerArgument(info[6], "outWidth", 1, kMaxSide, env);
  const int height = integerArgument(info[7], "outHeight", 1, kMaxSide, env);
  part.first = integerArgument(info[8], "first", 0, height - 1, env);
  part.rows = integerArgument(info[9], "rows", 1, height - part.first, env);
  const image::Border border = borderArgument(info[10], env);
  const bool weighted = booleanArgument(info[11], "weighted", env) && view.channels % 2 == 0;
  const image::RowSpan span = image::resizeSpan(part.height, height, part.first, part.rows, border);
  if (span.top < part.top || span.bottom > part.top + view.height)
    throwExpected("rows " + std::to_string(span.top) + " .. " + std::to_string(span.bottom), "data", info[0], env);
  const Result out = newArray(env, view.type, false, static_cast<double>(width) * part.rows * view.channels);
  void* data = out.data;
  return runJobInto(env, imageWorker(env), {info[0]}, out.array, [=] {
    if (weighted) return image::resizeRowsWithAlpha(view, part, data, width, height, border);
    image::resizeBicubicRows(view, part, data, width, height, border);
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
  if (a.view.type != Sample::U8 || a.length != b.length)
    throwExpected("as many 8-bit samples as b has", "a", info[0], env);
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
      throwExpected("a rectangle inside " + std::to_string(view.width) + " x " + std::to_string(view.height),
                    "rects[" + std::to_string(i) + "]",
                    std::to_string(r[0]) + ", " + std::to_string(r[1]) + ", " + std::to_string(r[2]) + " x " +
                        std::to_string(r[3]),
                    env);
  }
  Napi::Float64Array out = Napi::Float64Array::New(env, length);
  double* vectors = out.Data();
  return runJobInto(env, imageWorker(env), {info[0], info[4]}, out,
                    [=] { image::gradientVectors(view, rects, count, vectors); });
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
  const float* alpha = alphaArgument(info[6], channels, static_cast<int64_t>(rows) * width, env);
  const Sample type = sampleArgument(info[7], env);
  const Result out = resultArgument(info[8], type, static_cast<double>(rows) * width * channels, env);
  void* data = out.data;
  return runJobInto(env, imageWorker(env), {info[0], info[1], info[6]}, out.array,
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
  return runJobInto(env, imageWorker(env), {info[0], info[4]}, out.array,
                    [=] { image::pngFilterRows(view, previous, data); });
}

Napi::Value assembleBatch(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsObject()) throwExpected("an object", "spec", info[0], env);
  Napi::Object object = info[0].As<Napi::Object>();
  KeepAlive keep;
  const int scale = integerArgument(object.Get("scale"), "scale", 1, 16, env);
  const int patch = integerArgument(object.Get("patchSize"), "patchSize", 1, 8192, env);
  if (patch % scale != 0) throwExpected("a multiple of scale", "patchSize", object.Get("patchSize"), env);
  const std::shared_ptr<const BatchSource> source = readBatchSource(object, patch, scale, keep);
  const double hrArea = static_cast<double>(patch) * patch * 3 * static_cast<double>(source->crops.size());
  const Result hr = newArray(env, Sample::F32, false, hrArea);
  const Result lr = newArray(env, Sample::F32, false, hrArea / scale / scale);
  Napi::Object result = Napi::Object::New(env);
  result.Set("lr", lr.array);
  result.Set("hr", hr.array);
  auto *lrData = static_cast<float*>(lr.data), *hrData = static_cast<float*>(hr.data);
  return runJobInto(env, imageWorker(env), keep, result, [=] {
    image::assembleBatch({source->images, source->lrImages, source->crops, patch, scale}, lrData, hrData);
  });
}

// Frees the memory of a typed array at once; without this it waits for the garbage collector, which sees little reason to run
// where few large arrays are made. An array that is a part of a buffer, or that cannot be detached, is left as it is.
Napi::Value releasePixels(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (!info[0].IsTypedArray()) throwExpected("a typed array", "data", info[0], env);
  const Napi::TypedArray array = info[0].As<Napi::TypedArray>();
  Napi::ArrayBuffer buffer = array.ArrayBuffer();
  if (array.ByteOffset() == 0 && array.ByteLength() == buffer.ByteLength() && !buffer.IsDetached())
    napi_detach_arraybuffer(env, buffer);
  return env.Undefined();
}

}  // namespace

void registerImages(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("resizeBicubic", resizeBicubic);
  add("resizeBicubicRows", resizeBicubicRows);
  add("resizeSpan", resizeSpan);
  add("psnr", compare<image::psnr, 1>);
  add("ssim", compare<image::ssim, 11>);
  add("gradientVectors", gradientVectors);
  add("assembleBatch", assembleBatch);
  add("toRgbFloat", toRgbFloat);
  add("toAlphaFloat", toAlphaFloat);
  add("finishRows", finishRows);
  add("pngFilterRows", pngFilterRows);
  add("releasePixels", releasePixels);
}

}  // namespace wbsr::bindings

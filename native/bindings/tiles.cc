// Sums over tiles: squaredErrors (router calibration), averageTiles (the paper's protocol).
#include <string>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/jobs.h"
#include "bindings/register.h"
#include "image/tile_error.h"

namespace wbsr::bindings {
namespace {

constexpr int kMaxSide = 1 << 24;

// a, b, width, height, rects -> Float64Array
Napi::Value squaredErrorsOf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int width = integerArgument(info[2], "width", 1, kMaxSide, env);
  const int height = integerArgument(info[3], "height", 1, kMaxSide, env);
  const float* a = floatsArgument(info[0], "a", int64_t{3} * width * height, env);
  const float* b = floatsArgument(info[1], "b", int64_t{3} * width * height, env);
  const auto* rects = arrayArgument<int32_t>(info[4], "rects", napi_int32_array, "Int32Array", -1, env);
  const int count = static_cast<int>(info[4].As<Napi::TypedArray>().ElementLength() / 4);
  for (int i = 0; i < count; ++i) {
    const int32_t* r = rects + 4 * i;
    if (r[0] < 0 || r[1] < 0 || r[2] < 1 || r[3] < 1 || int64_t{r[0]} + r[2] > width || int64_t{r[1]} + r[3] > height)
      throwExpected("rectangles inside the picture", "rects", info[4], env);
  }
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, sizeof(double) * count);
  auto* errors = static_cast<double*>(buffer.Data());
  return runJobInto(env, imageWorker(env), {info[0], info[1], info[4]}, Napi::Float64Array::New(env, count, buffer, 0),
                    [=] { squaredErrors(a, b, width, rects, count, errors); });
}

// tiles, columns, rows, size, step, channels -> Uint8Array
Napi::Value averageTilesOf(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int columns = integerArgument(info[1], "columns", 1, kMaxSide, env);
  const int rows = integerArgument(info[2], "rows", 1, kMaxSide, env);
  const int size = integerArgument(info[3], "size", 1, 4096, env);
  const int step = integerArgument(info[4], "step", 1, size, env);
  const int channels = integerArgument(info[5], "channels", 1, 4, env);
  const double area = static_cast<double>(size) * size;
  if (static_cast<double>(columns) * rows * area * channels > 1e15)
    throwExpected("tiles that fit into memory", "columns", info[1], env);
  const int64_t length = int64_t{columns} * rows * size * size * channels;
  const auto* tiles = arrayArgument<uint8_t>(info[0], "tiles", napi_uint8_array, "Uint8Array", length, env);
  const size_t width = (size_t{1} * columns - 1) * step + size, height = (size_t{1} * rows - 1) * step + size;
  requireMemory(env, static_cast<double>(width) * static_cast<double>(height) * channels, 1);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, width * height * channels);
  auto* out = static_cast<uint8_t*>(buffer.Data());
  return runJobInto(env, imageWorker(env), {info[0]}, Napi::Uint8Array::New(env, buffer.ByteLength(), buffer, 0),
                    [=] { averageTiles(tiles, columns, rows, size, step, channels, out); });
}

}  // namespace

void registerTiles(Napi::Env env, Napi::Object exports) {
  exports.Set("squaredErrors", Napi::Function::New(env, squaredErrorsOf, "squaredErrors"));
  exports.Set("averageTiles", Napi::Function::New(env, averageTilesOf, "averageTiles"));
}

}  // namespace wbsr::bindings

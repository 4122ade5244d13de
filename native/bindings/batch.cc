#include "bindings/batch.h"

#include <string>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/pixels.h"

namespace wbsr::bindings {
namespace {

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

}  // namespace

std::shared_ptr<const BatchSource> readBatchSource(const Napi::Object& object, int patch, int scale, KeepAlive& keep) {
  const Napi::Env env = object.Env();
  auto source = std::make_shared<BatchSource>();
  source->images = pictures(object.Get("images"), "images", keep, env);
  const Napi::Value lrImages = object.Get("lrImages");
  if (!lrImages.IsUndefined()) {
    source->lrImages = pictures(lrImages, "lrImages", keep, env);
    if (source->lrImages.size() != source->images.size())
      throwExpected("one picture per image", "lrImages", lrImages, env);
  }
  const Napi::Value crops = object.Get("crops");
  if (!crops.IsArray() || crops.As<Napi::Array>().Length() == 0)
    throwExpected("a non-empty array", "crops", crops, env);
  Napi::Array list = crops.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const std::string name = "crops[" + std::to_string(i) + "]";
    Napi::Value entry = list[i];
    if (!entry.IsObject()) throwExpected("an object", name, entry, env);
    Napi::Object item = entry.As<Napi::Object>();
    Crop crop;
    crop.image =
        integerArgument(item.Get("image"), name + ".image", 0, static_cast<int>(source->images.size()) - 1, env);
    const View& view = source->images[static_cast<size_t>(crop.image)];
    if (view.width < patch || view.height < patch)
      throwExpected("an image of at least patchSize", name + ".image", item.Get("image"), env);
    crop.x = integerArgument(item.Get("x"), name + ".x", 0, view.width - patch, env);
    crop.y = integerArgument(item.Get("y"), name + ".y", 0, view.height - patch, env);
    crop.flipX = booleanArgument(item.Get("flipX"), name + ".flipX", env);
    crop.flipY = booleanArgument(item.Get("flipY"), name + ".flipY", env);
    crop.transpose = booleanArgument(item.Get("transpose"), name + ".transpose", env);
    if (!source->lrImages.empty()) {
      const View& lr = source->lrImages[static_cast<size_t>(crop.image)];
      if (crop.x % scale != 0) throwExpected("a multiple of scale (with lrImages)", name + ".x", item.Get("x"), env);
      if (crop.y % scale != 0) throwExpected("a multiple of scale (with lrImages)", name + ".y", item.Get("y"), env);
      if (crop.x + patch > lr.width * scale || crop.y + patch > lr.height * scale)
        throwExpected("a crop inside the LR image", name, entry, env);
    }
    source->crops.push_back(crop);
  }
  return source;
}

}  // namespace wbsr::bindings

// Batches assembled on the device against image::assembleBatch: every bit, at every flip, with and without LR images.
#include <cstdio>

#include "image/image.h"
#include "cuda/batch.h"
#include "support/cuda_check.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

std::vector<uint8_t> picture(int width, int height, uint64_t seed) {
  std::vector<uint8_t> pixels;
  for (const float v : randomVector(static_cast<size_t>(width) * static_cast<size_t>(height) * 3, seed, 0, 255.99))
    pixels.push_back(static_cast<uint8_t>(v));
  return pixels;
}

// (N, 3, h, w) of the CPU to (N, h, w, 8).
std::vector<float> channelsLast(const std::vector<float>& planar, int batch, size_t plane) {
  std::vector<float> out(static_cast<size_t>(batch) * plane * 8, 0.f);
  for (size_t n = 0; n < static_cast<size_t>(batch); ++n)
    for (size_t c = 0; c < 3; ++c)
      for (size_t p = 0; p < plane; ++p) out[(n * plane + p) * 8 + c] = planar[(n * 3 + c) * plane + p];
  return out;
}

void same(const std::vector<float>& actual, const std::vector<float>& expected, const std::string& what) {
  check(actual.size() == expected.size() &&
            std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)) == 0,
        what + " is that of the CPU to the bit");
}

template <typename T>
void agrees(int scale, int patch, bool ownLr, const std::string& what) {
  const std::vector<uint8_t> one = picture(41, 37, 1),
                             two = picture(patch, patch, 2);  // two: nothing but borders around the crop
  const std::vector<uint8_t> oneLr = picture(41 / scale, 37 / scale, 3),
                             twoLr = picture(patch / scale, patch / scale, 4);
  BatchSource source;
  source.images = {{one.data(), Sample::U8, 41, 37, 3}, {two.data(), Sample::U8, patch, patch, 3}};
  if (ownLr)
    source.lrImages = {{oneLr.data(), Sample::U8, 41 / scale, 37 / scale, 3},
                       {twoLr.data(), Sample::U8, patch / scale, patch / scale, 3}};
  const int right = (41 / scale * scale - patch) / (ownLr ? scale : 1) * (ownLr ? scale : 1),
            bottom = ownLr ? (37 / scale * scale - patch) / scale * scale : 37 - patch;
  for (int flips = 0; flips < 8; ++flips)
    source.crops.push_back({flips % 3 == 1 ? 1 : 0, flips % 3 == 2 ? right : 0, flips % 3 == 2 ? bottom : 0,
                            (flips & 1) != 0, (flips & 2) != 0, (flips & 4) != 0});
  source.crops[1].x = source.crops[1].y = 0;
  const int batch = static_cast<int>(source.crops.size()), small = patch / scale;
  const size_t hrPlane = static_cast<size_t>(patch) * static_cast<size_t>(patch),
               lrPlane = static_cast<size_t>(small) * static_cast<size_t>(small);
  std::vector<float> hr(hrPlane * 3 * static_cast<size_t>(batch)), lr(lrPlane * 3 * static_cast<size_t>(batch));
  image::assembleBatch({source.images, source.lrImages, source.crops, patch, scale}, lr.data(), hr.data());

  const cuda::WindowPlan plan = cuda::planWindows(source, patch, scale);
  std::vector<uint8_t> windows(plan.bytes, 0xaa);
  cuda::copyWindows(plan, source, windows.data());
  const DeviceArray<uint8_t> onDevice(windows, "windows");
  const DeviceArray<cuda::CropWindow> crops(plan.crops, "crops");
  DeviceArray<float> hrOut(hrPlane * 8 * static_cast<size_t>(batch), "hr"),
      lrOut(lrPlane * 8 * static_cast<size_t>(batch), "lr");
  DeviceArray<T> copy(lrOut.size(), "lr copy");
  cuda::assembleCrops<T>(onDevice, crops, batch, patch, scale, hrOut, lrOut, copy, nullptr);
  const std::vector<float> expected = channelsLast(lr, batch, lrPlane);
  same(hrOut.download(), channelsLast(hr, batch, hrPlane), what + " hr");
  same(lrOut.download(), expected, what + " lr");
  same(toFloat(copy.download()), stored<T>(expected), what + " lr copy");
  lrOut.spoil();
  cuda::assembleCrops<T>(onDevice, crops, batch, patch, scale, hrOut, lrOut, nullptr, nullptr);
  same(lrOut.download(), expected, what + " lr without a copy");
}

}  // namespace

int main() {
  for (int scale : {2, 3, 4})
    for (bool ownLr : {false, true}) {
      const std::string what = "x" + std::to_string(scale) + (ownLr ? " with LR images" : "");
      agrees<__nv_bfloat16>(scale, 6 * scale, ownLr, what);
      agrees<float>(scale, scale, ownLr, what + ", one LR pixel,");
    }
  agrees<float>(1, 5, false, "x1");
  agrees<float>(8, 24, false, "x8");
  cuda::assembleCrops<float>(nullptr, nullptr, 0, 4, 2, nullptr, nullptr, nullptr,
                             nullptr);  // no crop: nothing is launched
  std::string refused;
  try {
    cuda::assembleCrops<float>(nullptr, nullptr, 65536, 4, 2, nullptr, nullptr, nullptr, nullptr);
  } catch (const Error& error) {
    refused = error.what();
  }
  check(refused == "Expected at most 65535 (on a CUDA device) for batch but received 65536",
        "more crops than a grid has rows: " + refused);
  return finish();
}

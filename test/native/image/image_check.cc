// Runs every image operation on odd sizes in buffers of exactly the right size, so that the sanitizer build sees any
// read or write beside them, in the vector loops of this machine too. Values are checked in test/measure and
// test/native/image/images.test.ts; here only what is cheap to know.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/math/cubic.h"
#include "image/image.h"

using namespace wbsr;
using namespace wbsr::image;

namespace {

int failures = 0;

void expect(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  std::printf("failed: %s\n", what.c_str());
}

// A picture on the heap, one grey level everywhere: whatever is resized or blended must give that level again.
struct Picture {
  std::unique_ptr<uint8_t[]> data;
  View view;
  Picture(Sample type, int width, int height, int channels)
      : data(new uint8_t[static_cast<size_t>(width) * height * channels * sampleBytes(type)]),
        view{data.get(), type, width, height, channels} {
    for (size_t i = 0; i < size(); ++i) set(i, 0.6f);
  }
  size_t size() const { return static_cast<size_t>(view.width) * view.height * view.channels; }
  void set(size_t i, float v) {
    if (view.type == Sample::U8) data[i] = static_cast<uint8_t>(v * 255 + 0.5f);
    if (view.type == Sample::U16) reinterpret_cast<uint16_t*>(data.get())[i] = static_cast<uint16_t>(v * 65535 + 0.5f);
    if (view.type == Sample::F32) reinterpret_cast<float*>(data.get())[i] = v;
  }
  double get(size_t i) const {
    if (view.type == Sample::U8) return data[i] / 255.0;
    if (view.type == Sample::U16) return reinterpret_cast<const uint16_t*>(data.get())[i] / 65535.0;
    return reinterpret_cast<const float*>(data.get())[i];
  }
  bool flat(double tolerance) const {
    for (size_t i = 0; i < size(); ++i)
      if (!(std::fabs(get(i) - 0.6) <= tolerance)) return false;
    return true;
  }
};

const Sample kTypes[] = {Sample::U8, Sample::U16, Sample::F32};

std::string name(const View& v) {
  return std::to_string(v.width) + " x " + std::to_string(v.height) + " x " + std::to_string(v.channels) + ", " +
         std::to_string(sampleBytes(v.type)) + " bytes";
}

void checkPictures() {
  const int sizes[][2] = {{1, 1}, {1, 7}, {9, 1}, {3, 2}, {17, 5}, {33, 20}, {520, 3}};
  const int outs[][2] = {{1, 1}, {2, 3}, {5, 40}, {66, 40}, {131, 1}};
  for (const Sample type : kTypes) {
    for (int channels = 1; channels <= 4; ++channels) {
      for (const auto& size : sizes) {
        const Picture in(type, size[0], size[1], channels);
        for (const auto& out : outs) {
          for (const Border border : {Border::Symmetric, Border::Replicate}) {
            Picture made(type, out[0], out[1], channels);
            for (size_t i = 0; i < made.size(); ++i) made.set(i, 0);
            resizeBicubic(in.view, made.data.get(), out[0], out[1], border);
            expect(made.flat(1e-6), "resize " + name(in.view) + " to " + name(made.view));
            if (channels % 2 == 0) {
              for (size_t i = 0; i < made.size(); ++i) made.set(i, 0);
              resizeWithAlpha(in.view, made.data.get(), out[0], out[1], border);
              expect(made.flat(1e-6), "resize with alpha " + name(in.view) + " to " + name(made.view));
            }
          }
        }
        const size_t pixels = static_cast<size_t>(size[0]) * size[1];
        std::unique_ptr<float[]> rgb(new float[pixels * 3]), alpha(new float[pixels]), weight(new float[pixels]);
        toRgbFloat(in.view, rgb.get());
        toAlphaFloat(in.view, alpha.get());
        for (size_t i = 0; i < pixels; ++i) {
          weight[i] = i % 3 == 0 ? 2.f : 1.f;
          for (int c = 0; c < 3; ++c) rgb[3 * i + c] *= weight[i];
        }
        Picture back(type, size[0], size[1], channels);
        finishRows(rgb.get(), weight.get(), size[0], 0, size[1], channels, channels % 2 ? nullptr : alpha.get(), type,
                   back.data.get());
        expect(back.flat(1e-6), "there and back " + name(in.view));
        const int32_t rects[] = {0, 0, size[0], size[1], size[0] - 1, size[1] - 1, 1, 1};
        std::unique_ptr<double[]> vectors(new double[8]);
        gradientVectors(in.view, rects, 2, vectors.get());
        for (int i = 0; i < 8; ++i) expect(std::fabs(vectors[i]) < 1e-6, "gradient of a flat " + name(in.view));
        if (type != Sample::F32) {
          const size_t rowBytes = static_cast<size_t>(size[0]) * channels * sampleBytes(type);
          std::unique_ptr<uint8_t[]> filtered(new uint8_t[(rowBytes + 1) * size[1]]);
          pngFilterRows(in.view, in.data.get(), filtered.get());
          for (int y = 0; y < size[1]; ++y) expect(filtered[y * (rowBytes + 1)] < 5, "filter type of " + name(in.view));
        }
      }
    }
  }
}

void checkMeasures() {
  for (const int channels : {1, 3}) {
    for (const auto& [width, height] : {std::pair{11, 11}, {13, 40}, {501, 12}}) {
      const Picture a(Sample::U8, width, height, channels), b(Sample::U8, width, height, channels);
      for (const bool y : {false, true}) {
        expect(std::isinf(psnr(a.data.get(), b.data.get(), width, height, channels, y, 2)), "psnr of equals");
        expect(std::fabs(ssim(a.data.get(), b.data.get(), width, height, channels, y, 0) - 1) < 1e-12,
               "ssim of equals");
      }
    }
  }
}

void checkBatch() {
  const Picture image(Sample::U8, 29, 31, 3), lrImage(Sample::U8, 14, 15, 3);
  BatchSpec spec;
  spec.images = {image.view};
  spec.patch = 12;
  spec.scale = 2;
  for (int i = 0; i < 8; ++i)
    spec.crops.push_back({0, i % 2 ? 16 : 0, i / 2 % 2 ? 18 : 0, i > 3, i % 3 == 0, i % 2 == 0});
  spec.crops.push_back({0, 17, 19, true, true, true});
  for (const bool given : {false, true}) {
    if (given) {
      spec.lrImages = {lrImage.view};
      spec.crops.pop_back();
    }
    const size_t hrCount = spec.crops.size() * 3 * 144, lrCount = hrCount / 4;
    std::unique_ptr<float[]> lr(new float[lrCount]), hr(new float[hrCount]);
    assembleBatch(spec, lr.get(), hr.get());
    for (size_t i = 0; i < hrCount; ++i) expect(std::fabs(hr[i] - 0.6f) < 1e-6f, "hr of a batch");
    for (size_t i = 0; i < lrCount; ++i) expect(std::fabs(lr[i] - 0.6f) < 1e-6f, "lr of a batch");
  }
}

// The widest kernel: a large picture onto one pixel; and indices far outside.
void checkWeights() {
  for (const double scale : {1.0 / 3, 0.4, 1.0, 2.0, 1.0 / 700}) {
    const int taps = math::cubicTaps(scale);
    std::vector<double> weights(taps);
    for (int i = 0; i < 5; ++i) {
      const double centre = math::cubicCentre(i, scale);
      const int first = math::cubicFirst(centre, scale);
      math::cubicWeights(centre, first, scale, taps, weights.data());
      double sum = 0, moment = 0;
      for (int k = 0; k < taps; ++k) sum += weights[k], moment += weights[k] * (first + k - centre);
      expect(std::fabs(sum - 1) < 1e-12, "weights sum to one");
      expect(std::fabs(moment) < 1e-2 / scale, "weights are balanced around the centre");
    }
  }
  for (int i = -50; i < 50; ++i) {
    for (const int n : {1, 2, 7}) {
      int mirrored = i;
      while (mirrored < 0 || mirrored >= n) mirrored = mirrored < 0 ? -1 - mirrored : 2 * n - 1 - mirrored;
      expect(math::borderIndex(i, n, true) == mirrored, "mirror");
      expect(math::borderIndex(i, n, false) == (i < 0 ? 0 : i >= n ? n - 1 : i), "replicate");
    }
  }
}

}  // namespace

int main() {
  checkPictures();
  checkMeasures();
  checkBatch();
  checkWeights();
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

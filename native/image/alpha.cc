// Resizes images with an alpha channel. Colours are weighted by alpha, or those of transparent pixels bleed into edges.
#include <vector>

#include "image/image.h"

namespace wbsr::image {

namespace {

bool isOpaque(const View& in) {
  std::vector<float> alpha(in.width);
  for (int y = 0; y < in.height; ++y) {
    View row = in;
    row.data =
        static_cast<const char*>(in.data) + static_cast<size_t>(y) * in.width * in.channels * sampleBytes(in.type);
    row.height = 1;
    toAlphaFloat(row, alpha.data());
    for (float a : alpha)
      if (!(a >= 1.f)) return false;
  }
  return true;
}

}  // namespace

void resizeWithAlpha(const View& in, void* out, int outWidth, int outHeight, Border border) {
  if (isOpaque(in)) return resizeBicubic(in, out, outWidth, outHeight, border);
  resizeRowsWithAlpha(in, {0, in.height, 0, outHeight}, out, outWidth, outHeight, border);
}

void resizeRowsWithAlpha(const View& in, const RowPart& part, void* out, int outWidth, int outHeight, Border border) {
  const size_t pixels = static_cast<size_t>(in.width) * in.height;
  const size_t outPixels = static_cast<size_t>(outWidth) * part.rows;
  std::vector<float> colour(pixels * 3), alpha(pixels), outColour(outPixels * 3), outAlpha(outPixels);
  toRgbFloat(in, colour.data());
  toAlphaFloat(in, alpha.data());
  const View colours = {colour.data(), Sample::F32, in.width, in.height, 3};
  resizeBicubicRows(colours, part, outColour.data(), outWidth, outHeight, border);
  const View plane = {alpha.data(), Sample::F32, in.width, in.height, 1};
  resizeBicubicRows(plane, part, outAlpha.data(), outWidth, outHeight, border);
  finishRows(outColour.data(), nullptr, outWidth, 0, part.rows, in.channels, outAlpha.data(), in.type, out);
}

}  // namespace wbsr::image

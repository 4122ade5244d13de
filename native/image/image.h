// Operations on decoded images that need no network: resize, measures, gradient vectors, training batches,
// conversion before and after inference, PNG filtering. Images are interleaved (height, width, channels); channels:
// 1 grey, 2 grey + alpha, 3 RGB, 4 RGBA. Plain functions without state; the caller checks sizes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/pixels.h"

namespace wbsr::image {

using wbsr::Crop;
using wbsr::Sample;
using wbsr::View;

enum class Border { Symmetric = 0, Replicate = 1 };

// --- resize.cc: MATLAB's imresize(..., 'bicubic') ---

// out (outHeight, outWidth, channels), of the input's type. All channels alike, alpha too.
void resizeBicubic(const View& in, void* out, int outWidth, int outHeight, Border border);

// Of a resize from `height` to outHeight rows: output rows first .. first+rows-1, from the input rows from `top` on.
struct RowPart {
  int top, height, first, rows;
};
// Input rows top .. bottom-1.
struct RowSpan {
  int top, bottom;
};

// Some rows of resizeBicubic's result, bit for bit. `in` holds the input rows from part.top on, at least those that
// resizeSpan tells. out (part.rows, outWidth, channels).
void resizeBicubicRows(const View& in, const RowPart& part, void* out, int outWidth, int outHeight, Border border);
RowSpan resizeSpan(int height, int outHeight, int first, int rows, Border border);

// A part of imresize(in, 1 / factor): its pixel (i, j) covers the input pixels from (x + i factor, y + j factor) on.
// At its edges the kernel reads the input pixels around the part. uint8 only. out (outHeight, outWidth, channels).
void shrinkWindow(const View& in, int x, int y, int factor, uint8_t* out, int outWidth, int outHeight, Border border);

// --- alpha.cc ---

// As resizeBicubic, but colour is weighted by alpha (2 or 4 channels). The colours of an image that is opaque
// everywhere equal those of a resize without alpha (floats: within rounding).
void resizeWithAlpha(const View& in, void* out, int outWidth, int outHeight, Border border);
// Some rows of that, where the image is not opaque everywhere.
void resizeRowsWithAlpha(const View& in, const RowPart& part, void* out, int outWidth, int outHeight, Border border);

// --- measures.cc: uint8 images of the same size, `shave` pixels ignored on each side ---

// dB; infinity when equal. y: on Y of the protocol; in a one-channel image the grey value is Y.
double psnr(const uint8_t* a, const uint8_t* b, int width, int height, int channels, bool y, int shave);
// At least 11 x 11 pixels must be left.
double ssim(const uint8_t* a, const uint8_t* b, int width, int height, int channels, bool y, int shave);

// --- gradient.cc ---

// vectors (count, 4) of the rectangles (count, 4: x, y, width, height); each rectangle's edges are replicated.
// Colour is premultiplied by alpha, so that invisible colours do not count.
void gradientVectors(const View& in, const int32_t* rects, int count, double* vectors);

// --- convert.cc ---

// out (height, width, 3), [0, 1], premultiplied where there is alpha.
void toRgbFloat(const View& in, float* out);
// out (height, width) alpha in [0, 1]; 1 where the image has none.
void toAlphaFloat(const View& in, float* out);
// sum (.., width, 3) / weight (.., width), rows from firstRow on -> out (rows, width, channels) of type `type`.
// With 2 or 4 channels alpha (rows, width) is stored in out and colour is divided by it. weight null: 1 everywhere.
void finishRows(const float* sum, const float* weight, int width, int firstRow, int rows, int channels,
                const float* alpha, Sample type, void* out);

// --- batch.cc ---

struct BatchSpec {
  std::vector<View> images;    // uint8 RGB
  std::vector<View> lrImages;  // empty: LR is made from HR; else crop positions are multiples of scale
  std::vector<Crop> crops;
  int patch = 0;  // HR pixels, a multiple of scale
  int scale = 0;
};

// hr (N, 3, patch, patch), lr (N, 3, patch / scale, patch / scale), [0, 1].
void assembleBatch(const BatchSpec& spec, float* lr, float* hr);

// --- png.cc ---

// out (rows, 1 + width * channels * bytes): filter byte, filtered row (big-endian). previous: the row above or null.
void pngFilterRows(const View& in, const void* previous, uint8_t* out);

}  // namespace wbsr::image

// Bicubic resize, bit for bit what MATLAB's imresize does to uint8 and uint16 images (protocol.md): vertical pass
// first, its result rounded half up and clamped, then the horizontal pass, rounded and clamped; the other way round
// where the width shrinks more. Float images are not rounded.
//
// Speed: one row at a time through both passes, so that intermediate rows stay in the cache. Integers are computed in
// float where that provably equals double (every x2 and x4), in double elsewhere; floats are computed in float.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/instruction_set.h"
#include "core/math/cubic.h"
#include "image/image.h"

namespace wbsr::image {

namespace {

constexpr int kLanes = 4;  // the horizontal pass adds four numbers at a time

template <class W>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float type __attribute__((vector_size(16)));
};
template <>
struct Lanes<double> {
  typedef double type __attribute__((vector_size(32)));
};

// The input samples that each output sample of one axis reads, and their weights.
struct Axis {
  int in = 0, out = 0;
  double scale = 1;
  int taps = 0;  // a multiple of kLanes, padded with zero weights
  int usedTaps = 0;
  std::vector<int> first;       // (out) may lie outside 0 .. in-1
  std::vector<double> weights;  // (out, taps)
  bool symmetric = true;
  int low = 0, high = 0;  // first .. first + taps over all outputs
};

// Output samples 0 .. out-1, shifted by `start` input samples against those of a whole picture.
Axis makeAxis(int in, int out, double scale, int start, Border border) {
  Axis axis;
  axis.in = in;
  axis.out = out;
  axis.scale = scale;
  axis.symmetric = border == Border::Symmetric;
  const int most = math::cubicTaps(scale);
  axis.taps = (most + kLanes - 1) / kLanes * kLanes;
  axis.first.resize(out);
  axis.weights.assign(static_cast<size_t>(out) * axis.taps, 0.0);
  for (int i = 0; i < out; ++i) {
    const double centre = math::cubicCentre(i, scale) + start;
    axis.first[i] = math::cubicFirst(centre, scale);
    double* weights = &axis.weights[static_cast<size_t>(i) * axis.taps];
    math::cubicWeights(centre, axis.first[i], scale, most, weights);
    for (int k = axis.usedTaps; k < most; ++k)
      if (weights[k] != 0) axis.usedTaps = k + 1;
  }
  axis.low = *std::min_element(axis.first.begin(), axis.first.end());
  axis.high = *std::max_element(axis.first.begin(), axis.first.end()) + axis.taps;
  return axis;
}

// True when 8-bit samples times these weights, and all their sums, are exact in float: multiples of 2^-15 below 2^9.
bool exactInFloat(const Axis& axis) {
  for (int i = 0; i < axis.out; ++i) {
    double sum = 0;
    for (int k = 0; k < axis.taps; ++k) {
      const double w = axis.weights[static_cast<size_t>(i) * axis.taps + k];
      if (w * 32768 != std::floor(w * 32768)) return false;
      sum += std::fabs(w);
    }
    if (sum * 255 >= 512) return false;
  }
  return true;
}

template <class T, class W>
WBSR_INLINE void roundRow(W* __restrict values, int n) {
  if constexpr (sizeof(T) < 4) {
    constexpr W top = sizeof(T) == 1 ? W(255) : W(65535);
    for (int i = 0; i < n; ++i) {
      W v = values[i] + W(0.5);
      v = v > W(0) ? v : W(0);
      v = v < top ? v : top;
      values[i] = static_cast<W>(static_cast<int32_t>(v));
    }
  }
}

// out (n) = sum of weights[k] * rows[k] (n), rounded.
template <class T, class W>
WBSR_INLINE void verticalRow(const T* const* rows, const W* weights, int taps, int n, W* __restrict out) {
  constexpr int kBlock = 1024;  // stays in the first-level cache through all taps
  for (int from = 0; from < n; from += kBlock) {
    const int count = n - from < kBlock ? n - from : kBlock;
    W* __restrict o = out + from;
    for (int i = 0; i < count; ++i) o[i] = 0;
    int k = 0;
    for (; k + 4 <= taps; k += 4) {
      const T *a = rows[k] + from, *b = rows[k + 1] + from, *c = rows[k + 2] + from, *d = rows[k + 3] + from;
      const W wa = weights[k], wb = weights[k + 1], wc = weights[k + 2], wd = weights[k + 3];
      for (int i = 0; i < count; ++i)
        o[i] += wa * static_cast<W>(a[i]) + wb * static_cast<W>(b[i]) + wc * static_cast<W>(c[i]) +
                wd * static_cast<W>(d[i]);
    }
    for (; k < taps; ++k) {
      const T* a = rows[k] + from;
      const W w = weights[k];
      for (int i = 0; i < count; ++i) o[i] += w * static_cast<W>(a[i]);
    }
    roundRow<T, W>(o, count);
  }
}

// out (n outputs, C) from a row that is already extended over its borders; out has room for kLanes more.
template <class T, class W, int C>
WBSR_INLINE void horizontalRow(const W* row, const int* first, const W* weights, int taps, int usedTaps, int n,
                               W* out) {
  using V = typename Lanes<W>::type;
  for (int x = 0; x < n; ++x) {
    const W* p = row + static_cast<ptrdiff_t>(first[x]) * C;
    const W* w = weights + static_cast<ptrdiff_t>(x) * taps;
    V sum = {};
    if constexpr (C == 1) {
      for (int k = 0; k < usedTaps; k += kLanes) {
        V samples, factors;
        std::memcpy(&samples, p + k, sizeof samples);
        std::memcpy(&factors, w + k, sizeof factors);
        sum += samples * factors;
      }
      out[x] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    } else {
      for (int k = 0; k < usedTaps; ++k) {  // lanes beyond C are the next pixel's and are overwritten by it
        V samples;
        std::memcpy(&samples, p + k * C, sizeof samples);
        sum += samples * w[k];
      }
      std::memcpy(out + static_cast<ptrdiff_t>(x) * C, &sum, sizeof sum);
    }
  }
  roundRow<T, W>(out, n * C);
}

template <class T, class W>
WBSR_INLINE void storeRow(const W* __restrict values, int n, T* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] = static_cast<T>(values[i]);
}

// One output row, rounded, from a row that is already extended over its borders. buffer: room for kLanes more.
template <class T, class W>
WBSR_INLINE void horizontal(const W* row, const int* first, const W* weights, int taps, int used, int n, int c,
                            W* buffer, T* out) {
  if (c == 1) horizontalRow<T, W, 1>(row, first, weights, taps, used, n, buffer);
  if (c == 2) horizontalRow<T, W, 2>(row, first, weights, taps, used, n, buffer);
  if (c == 3) horizontalRow<T, W, 3>(row, first, weights, taps, used, n, buffer);
  if (c == 4) horizontalRow<T, W, 4>(row, first, weights, taps, used, n, buffer);
  storeRow<T, W>(buffer, n * c, out);
}

// The rows of one pass over an axis: pointers to the taps of output row y. `data` begins with input row `top`.
template <class T>
void tapRows(const Axis& axis, int y, const T* data, int top, size_t stride, std::vector<const T*>& rows) {
  for (int k = 0; k < axis.usedTaps; ++k)
    rows[k] = data + stride * (math::borderIndex(axis.first[y] + k, axis.in, axis.symmetric) - top);
}

// A row buffer that reaches over both borders as far as the taps do.
template <class W>
class ExtendedRow {
 public:
  ExtendedRow(const Axis& axis, int channels)
      : axis_(axis),
        c_(channels),
        from_(std::max(axis.low, 0)),
        to_(std::min(axis.high, axis.in)),
        buffer_(static_cast<size_t>(axis.high - axis.low) * channels + kLanes, W(0)) {}
  int from() const { return from_; }  // the input samples that are really needed
  int count() const { return to_ - from_; }
  W* middle() { return at(from_); }
  const W* origin() { return buffer_.data() - static_cast<ptrdiff_t>(axis_.low) * c_; }
  // Called after middle() has been filled. Indices beyond the needed part have zero weights.
  void extend() {
    for (int i = axis_.low; i < from_; ++i) copyInside(i);
    for (int i = to_; i < axis_.high; ++i) copyInside(i);
  }

 private:
  void copyInside(int i) {
    const int j = std::clamp(math::borderIndex(i, axis_.in, axis_.symmetric), from_, to_ - 1);
    std::copy(at(j), at(j) + c_, at(i));
  }
  W* at(int i) { return buffer_.data() + static_cast<ptrdiff_t>(i - axis_.low) * c_; }
  const Axis& axis_;
  int c_, from_, to_;
  std::vector<W> buffer_;
};

// Output rows [begin, end); `in` holds the input rows from `top` on.
template <class T, class W>
void resize(const View& in, int top, const Axis& ax, const Axis& ay, int begin, int end, T* out) {
  const int c = in.channels;
  const T* data = static_cast<const T*>(in.data);
  const size_t stride = static_cast<size_t>(in.width) * c, outStride = static_cast<size_t>(ax.out) * c;
  const std::vector<W> wx(ax.weights.begin(), ax.weights.end()), wy(ay.weights.begin(), ay.weights.end());
  const bool verticalFirst = ay.scale <= ax.scale;
  // A second thread costs some microseconds, which does not pay for single patches and small pictures.
  const double work =
      static_cast<double>(end - begin) *
      (static_cast<double>(ax.high - ax.low) * ay.usedTaps / 4 + static_cast<double>(ax.out) * ax.usedTaps) * c;
  [[maybe_unused]] const bool parallel = work > 8e6;

  if (verticalFirst) {
#pragma omp parallel if (parallel)
    {
      ExtendedRow<W> row(ax, c);
      std::vector<const T*> rows(ay.taps);
      std::vector<W> buffer(outStride + kLanes);
      const size_t offset = static_cast<size_t>(row.from()) * c;
#pragma omp for schedule(static)
      for (int y = begin; y < end; ++y) {
        tapRows(ay, y, data + offset, top, stride, rows);
        perInstructionSet<verticalRow<T, W>>(rows.data(), &wy[static_cast<size_t>(y) * ay.taps], ay.usedTaps,
                                             row.count() * c, row.middle());
        row.extend();
        perInstructionSet<horizontal<T, W>>(row.origin(), ax.first.data(), wx.data(), ax.taps, ax.usedTaps, ax.out, c,
                                            buffer.data(), out + outStride * (y - begin));
      }
    }
    return;
  }
  std::vector<T> narrow(outStride * in.height);
#pragma omp parallel if (parallel)
  {
    ExtendedRow<W> row(ax, c);
    std::vector<const T*> rows(ay.taps);
    std::vector<W> buffer(outStride + kLanes);
#pragma omp for schedule(static)
    for (int y = 0; y < in.height; ++y) {
      const T* source = data + stride * y + static_cast<size_t>(row.from()) * c;
      std::copy(source, source + static_cast<size_t>(row.count()) * c, row.middle());
      row.extend();
      perInstructionSet<horizontal<T, W>>(row.origin(), ax.first.data(), wx.data(), ax.taps, ax.usedTaps, ax.out, c,
                                          buffer.data(), narrow.data() + outStride * y);
    }
#pragma omp for schedule(static)
    for (int y = begin; y < end; ++y) {
      tapRows(ay, y, static_cast<const T*>(narrow.data()), top, outStride, rows);
      perInstructionSet<verticalRow<T, W>>(rows.data(), &wy[static_cast<size_t>(y) * ay.taps], ay.usedTaps, ax.out * c,
                                           buffer.data());
      perInstructionSet<storeRow<T, W>>(buffer.data(), ax.out * c, out + outStride * (y - begin));
    }
  }
}

void resize(const View& in, int top, const Axis& ax, const Axis& ay, int begin, int end, void* out) {
  switch (in.type) {
    case Sample::U8:
      if (exactInFloat(ax) && exactInFloat(ay))
        return resize<uint8_t, float>(in, top, ax, ay, begin, end, static_cast<uint8_t*>(out));
      return resize<uint8_t, double>(in, top, ax, ay, begin, end, static_cast<uint8_t*>(out));
    case Sample::U16: return resize<uint16_t, double>(in, top, ax, ay, begin, end, static_cast<uint16_t*>(out));
    case Sample::F32: return resize<float, float>(in, top, ax, ay, begin, end, static_cast<float*>(out));
  }
}

}  // namespace

void resizeBicubic(const View& in, void* out, int outWidth, int outHeight, Border border) {
  resizeBicubicRows(in, {0, in.height, 0, outHeight}, out, outWidth, outHeight, border);
}

void resizeBicubicRows(const View& in, const RowPart& part, void* out, int outWidth, int outHeight, Border border) {
  const double xScale = static_cast<double>(outWidth) / in.width;
  const double yScale = static_cast<double>(outHeight) / part.height;
  const Axis ax = makeAxis(in.width, outWidth, xScale, 0, border);
  // That of the whole picture, so that sums are formed in one way whatever the part is.
  const Axis ay = makeAxis(part.height, outHeight, yScale, 0, border);
  resize(in, part.top, ax, ay, part.first, part.first + part.rows, out);
}

RowSpan resizeSpan(int height, int outHeight, int first, int rows, Border border) {
  const double scale = static_cast<double>(outHeight) / height;
  const int taps = math::cubicTaps(scale);
  // A tap outside reads a row inside, of a small picture perhaps a distant one.
  const int from = math::cubicFirst(math::cubicCentre(first, scale), scale);
  const int to = math::cubicFirst(math::cubicCentre(first + rows - 1, scale), scale) + taps;
  RowSpan span = {height, 0};
  for (int i = from; i < to; ++i) {
    const int row = math::borderIndex(i, height, border == Border::Symmetric);
    span.top = std::min(span.top, row);
    span.bottom = std::max(span.bottom, row + 1);
  }
  return span;
}

void shrinkWindow(const View& in, int x, int y, int factor, uint8_t* out, int outWidth, int outHeight, Border border) {
  const Axis ax = makeAxis(in.width, outWidth, 1.0 / factor, x, border);
  const Axis ay = makeAxis(in.height, outHeight, 1.0 / factor, y, border);
  resize(in, 0, ax, ay, 0, outHeight, out);
}

}  // namespace wbsr::image

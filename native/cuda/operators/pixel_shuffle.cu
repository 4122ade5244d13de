// Pixel shuffle and its backward. Where the filters of the convolution in front are ordered sub-pixel first, a pixel's
// channels stay together and the shuffle is a copy of vectors; the order of trained networks, c r^2 + i r + j, goes
// through shared memory, so that both sides move whole vectors there too.
#include "core/operators/pixel_shuffle.h"

#include <algorithm>

#include "core/operators/pixel_shuffle.h"
#include "cuda/kernels/vectors.h"
#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

constexpr int kThreads = 256;

// None, relu and leaky relu are one formula with slope 1, 0 and s.
__device__ inline float activate(float x, float slope) { return x > 0.f ? x : x * slope; }

// The part of a block: a piece of one row of the small value. chunks: pieces per row.
struct Rows {
  int width, factor;
  int vectors;  // of eight channels, per pixel of large
  int last;     // real channels of the last of them
  unsigned chunks;
};

// small (rows, W, r, r, vectors x 8) -> large (rows, r, W, r, vectors x 8). A thread has one vector of each of the r
// rows of large that a row of small becomes: r loads in flight, one division for all of them.
template <int F, typename Small, typename Large>
__global__ void __launch_bounds__(kThreads) shuffledKernel(const Small* small, Large* large, Rows shape, float slope) {
  const int factor = F > 0 ? F : shape.factor;
  const int64_t row = blockIdx.x / shape.chunks;
  const int j = static_cast<int>(blockIdx.x % shape.chunks) * kThreads + static_cast<int>(threadIdx.x);
  const int run = factor * shape.vectors, rowVectors = shape.width * run;  // run: vectors that lie together in both
  if (j >= rowVectors) return;
  const int x = j / run;
  const Small* from = small + ((row * shape.width + x) * factor * run + (j - x * run)) * kVector;
  Large* to = large + (row * factor * rowVectors + j) * kVector;
  const int64_t fromStep = int64_t{run} * kVector, toStep = int64_t{rowVectors} * kVector;
  constexpr int kRows = F > 0 ? F : 2;
  for (int first = 0; first < factor; first += kRows) {
    Raw<Small> raw[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      if (first + i < factor) raw[i] = loadRaw(from + (first + i) * fromStep);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= factor) continue;
      float v[kVector];
      unpack(raw[i], v);
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] = activate(v[k], slope);
      store(to + (first + i) * toStep, v);
    }
  }
}

// The gradient. dLarge, y (rows, r, W, r, vectors x 8), y may be null; dSmall (rows, W, r, r, vectors x 8)
template <int F, typename Large, typename Small>
__global__ void __launch_bounds__(kThreads)
    shuffledBackwardKernel(const Large* dLarge, const Large* y, Small* dSmall, Rows shape, float slope) {
  const int factor = F > 0 ? F : shape.factor;
  const int64_t row = blockIdx.x / shape.chunks;
  const int j = static_cast<int>(blockIdx.x % shape.chunks) * kThreads + static_cast<int>(threadIdx.x);
  const int run = factor * shape.vectors, rowVectors = shape.width * run;
  if (j >= rowVectors) return;
  const int x = j / run;
  const int64_t from = (row * factor * rowVectors + j) * kVector;
  Small* to = dSmall + ((row * shape.width + x) * factor * run + (j - x * run)) * kVector;
  const int64_t fromStep = int64_t{rowVectors} * kVector, toStep = int64_t{run} * kVector;
  const int real = shape.last < kVector && j % shape.vectors == shape.vectors - 1 ? shape.last : kVector;
  constexpr int kRows = F > 0 ? F : 2;
  for (int first = 0; first < factor; first += kRows) {
    Raw<Large> raw[kRows], rawY[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= factor) continue;
      raw[i] = loadRaw(dLarge + from + (first + i) * fromStep);
      if (y) rawY[i] = loadRaw(y + from + (first + i) * fromStep);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= factor) continue;
      float v[kVector];
      unpack(raw[i], v);
      if (y) {
        float gate[kVector];
        unpack(rawY[i], gate);
#pragma unroll
        for (int k = 0; k < kVector; ++k) v[k] = gate[k] > 0.f ? v[k] : v[k] * slope;
      }
#pragma unroll
      for (int k = 0; k < kVector; ++k) v[k] = k < real ? v[k] : 0.f;
      store(to + (first + i) * toStep, v);
    }
  }
}

// The order c r^2 + i r + j. A block has `pixels` neighbouring pixels of a row of small and `groupVectors` x 8 channels of large
// (blockIdx.y). Shared memory holds the same data in the order of small, (pixels, pitch), channels together.
struct Tile {
  int width, factor;
  int channels;       // of large, real ones
  int largeChannels;  // padded
  int smallChannels;  // padded
  int pixels, groupVectors, pitch;
  unsigned chunks;  // per row
};

// A block's part of a Tile.
struct Part {
  int64_t row;
  int square, x0, pixels;   // pixels: of small, clipped
  int c0, vectors;          // channels of large
  int first, smallVectors;  // channels of small
  __device__ explicit Part(const Tile& t) {
    row = blockIdx.x / t.chunks;
    square = t.factor * t.factor;
    x0 = static_cast<int>(blockIdx.x % t.chunks) * t.pixels;
    pixels = min(t.pixels, t.width - x0);
    c0 = static_cast<int>(blockIdx.y) * t.groupVectors * kVector;
    vectors = min(t.groupVectors, (t.largeChannels - c0) / kVector);
    first = c0 * square;  // a multiple of eight since c0 is one
    smallVectors = min(vectors * square, (t.smallChannels - first) / kVector);
  }
};

// Vector `index` of the block's part of large: its position there and, of its first channel, in shared memory.
struct Place {
  int channel, local;
  int64_t large;
  __device__ Place(const Tile& t, const Part& part, int index) {
    const int perRow = part.pixels * t.factor * part.vectors;
    const int i = index / perRow, inRow = index % perRow;
    const int x = inRow / part.vectors, vector = inRow % part.vectors, pixel = x / t.factor, j = x % t.factor;
    channel = part.c0 + vector * kVector;
    local = pixel * t.pitch + vector * kVector * part.square + i * t.factor + j;
    large =
        ((part.row * t.factor + i) * t.width * t.factor + int64_t{part.x0} * t.factor + x) * t.largeChannels + channel;
  }
};

// small (rows, W, smallChannels) -> large (rows r, W r, largeChannels)
template <typename Small, typename Large>
__global__ void __launch_bounds__(kThreads) genericKernel(const Small* small, Large* large, Tile t, float slope) {
  WBSR_SHARED(Small, values);  // (pixels, pitch)
  const Part part(t);
  for (int index = threadIdx.x; index < part.pixels * part.smallVectors; index += kThreads) {
    const int pixel = index / part.smallVectors, vector = index % part.smallVectors;
    const Small* from =
        small + (part.row * t.width + part.x0 + pixel) * t.smallChannels + part.first + vector * kVector;
    *reinterpret_cast<Raw<Small>*>(values + pixel * t.pitch + vector * kVector) = loadRaw(from);
  }
  __syncthreads();
  for (int index = threadIdx.x; index < part.pixels * part.square * part.vectors; index += kThreads) {
    const Place place(t, part, index);
    float v[kVector];
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      v[k] = place.channel + k < t.channels ? activate(toFloat(values[place.local + k * part.square]), slope) : 0.f;
    store(large + place.large, v);
  }
}

// dLarge, y (rows r, W r, largeChannels), y may be null; dSmall (rows, W, smallChannels)
template <typename Large, typename Small>
__global__ void __launch_bounds__(kThreads)
    genericBackwardKernel(const Large* dLarge, const Large* y, Small* dSmall, Tile t, float slope) {
  WBSR_SHARED(Small, values);  // (pixels, pitch)
  const Part part(t);
  for (int index = threadIdx.x; index < part.pixels * part.square * part.vectors; index += kThreads) {
    const Place place(t, part, index);
    float v[kVector], gate[kVector];
    load(dLarge + place.large, v);
    if (y) load(y + place.large, gate);
#pragma unroll
    for (int k = 0; k < kVector; ++k) {
      if (place.channel + k >= t.channels) continue;
      values[place.local + k * part.square] = fromFloat<Small>(!y || gate[k] > 0.f ? v[k] : v[k] * slope);
    }
  }
  __syncthreads();
  const int real = t.channels * part.square - part.first;  // behind it is padding, which was never written
  for (int index = threadIdx.x; index < part.pixels * part.smallVectors; index += kThreads) {
    const int pixel = index / part.smallVectors, vector = index % part.smallVectors;
    float v[kVector];
#pragma unroll
    for (int k = 0; k < kVector; ++k)
      v[k] = vector * kVector + k < real ? toFloat(values[pixel * t.pitch + vector * kVector + k]) : 0.f;
    store(dSmall + (part.row * t.width + part.x0 + pixel) * t.smallChannels + part.first + vector * kVector, v);
  }
}

// ---------------------------------------------------------------------------------------------------------------------

float slopeOf(const ShuffleShape& shape) {
  return shape.activation == ActivationKind::None ? 1.f : shape.activation == ActivationKind::Relu ? 0.f : shape.slope;
}

// One block per piece of a row; an empty grid for an empty value.
struct Shuffled {
  Rows rows;
  dim3 grid;
  explicit Shuffled(const ShuffleShape& s) {
    const int vectors = padded(s.channels) / kVector;
    const int64_t chunks = divideUp(int64_t{s.width} * s.factor * vectors, kThreads);
    rows = {s.width, s.factor, vectors, s.channels - (vectors - 1) * kVector, static_cast<unsigned>(chunks)};
    grid = dim3(static_cast<unsigned>(int64_t{s.batch} * s.height * rows.chunks));
  }
};

struct Generic {
  Tile tile;
  dim3 grid;
  size_t shared;
  Generic(const ShuffleShape& s, size_t element) {
    constexpr int kGroup = 8;  // vectors of large: 128 bytes of bf16 together
    constexpr int kShared = 32 << 10;
    const int square = s.factor * s.factor, vectors = padded(s.channels) / kVector;
    tile = {};
    tile.width = s.width;
    tile.factor = s.factor;
    tile.channels = s.channels;
    tile.largeChannels = padded(s.channels);
    tile.smallChannels = padded(s.channels * square);
    tile.groupVectors = std::min(vectors, kGroup);
    // The extra vector at the end puts neighbouring pixels into different banks.
    tile.pitch = std::min(tile.groupVectors * kVector * square, tile.smallChannels) + kVector;
    const size_t bytes = element * static_cast<size_t>(tile.pitch);
    tile.pixels = static_cast<int>(std::clamp<size_t>(kShared / bytes, 1, 64));
    tile.chunks = static_cast<unsigned>(divideUp(s.width, tile.pixels));
    const int64_t groups = divideUp(vectors, tile.groupVectors);
    grid = dim3(static_cast<unsigned>(int64_t{s.batch} * s.height * tile.chunks), static_cast<unsigned>(groups));
    shared = bytes * static_cast<size_t>(tile.pixels);
  }
};

// A thin value has fewer than eight channels, so its eight floats are its padded size.
void checkShape(const ShuffleShape& shape) {
  WBSR_CHECK(shape.activation != ActivationKind::Sigmoid);
  WBSR_CHECK(!shape.largeThin || shape.channels <= kVector);
}

}  // namespace

template <typename Small, typename Large>
void pixelShuffle(const ShuffleShape& shape, const Small* small, Large* large, cudaStream_t stream) {
  checkShape(shape);
  const float slope = slopeOf(shape);
  if (!shape.shuffled) {
    const Generic g(shape, sizeof(Small));
    return launch(genericKernel<Small, Large>, g.grid, dim3(kThreads), g.shared, stream, small, large, g.tile, slope);
  }
  const Shuffled s(shape);
  auto* kernel = shape.factor == 2 ? shuffledKernel<2, Small, Large>
               : shape.factor == 3 ? shuffledKernel<3, Small, Large>
               : shape.factor == 4 ? shuffledKernel<4, Small, Large>
                                   : shuffledKernel<0, Small, Large>;
  launch(kernel, s.grid, dim3(kThreads), 0, stream, small, large, s.rows, slope);
}

template <typename Large, typename Small>
void pixelShuffleBackward(const ShuffleShape& shape, const Large* dLarge, const Large* y, Small* dSmall,
                          cudaStream_t stream) {
  checkShape(shape);
  const float slope = slopeOf(shape);
  if (shape.activation == ActivationKind::None) y = nullptr;
  WBSR_CHECK(shape.activation == ActivationKind::None || y != nullptr || shape.batch == 0);
  if (!shape.shuffled) {
    const Generic g(shape, sizeof(Small));
    return launch(genericBackwardKernel<Large, Small>, g.grid, dim3(kThreads), g.shared, stream, dLarge, y, dSmall,
                  g.tile, slope);
  }
  const Shuffled s(shape);
  auto* kernel = shape.factor == 2 ? shuffledBackwardKernel<2, Large, Small>
               : shape.factor == 3 ? shuffledBackwardKernel<3, Large, Small>
               : shape.factor == 4 ? shuffledBackwardKernel<4, Large, Small>
                                   : shuffledBackwardKernel<0, Large, Small>;
  launch(kernel, s.grid, dim3(kThreads), 0, stream, dLarge, y, dSmall, s.rows, slope);
}

#define WBSR_INSTANTIATE(Small, Large)                                                                      \
  template void pixelShuffle<Small, Large>(const ShuffleShape&, const Small*, Large*, cudaStream_t);        \
  template void pixelShuffleBackward<Large, Small>(const ShuffleShape&, const Large*, const Large*, Small*, \
                                                   cudaStream_t);
WBSR_INSTANTIATE(bf16, bf16)
WBSR_INSTANTIATE(float, float)
WBSR_INSTANTIATE(bf16, float)
#undef WBSR_INSTANTIATE

namespace {

using operators::PixelShuffle;

ShuffleShape shapeOf(const StepCompiler& compiler, const Step& step, int smallValue, int largeValue) {
  const Layout s = compiler.values().layout(smallValue), l = compiler.values().layout(largeValue);
  const bool shuffled = compiler.program().values[static_cast<size_t>(smallValue)].groups > 1;
  const int factor = step.as<PixelShuffle>().factor();
  return {compiler.batch(),       s.height,        s.width,   factor, l.channels, shuffled,
          l.kind == Layout::Thin, step.activation, step.slope};
}

// work(S{}, L{}) with the types of the values: bf16 channels may become float RGB.
template <typename F>
void withTypes(bool halfSmall, bool halfLarge, F&& work) {
  if (!halfSmall) {
    WBSR_CHECK(!halfLarge);
    work(float{}, float{});
  } else if (halfLarge) {
    work(bf16{}, bf16{});
  } else {
    work(bf16{}, float{});
  }
}

void compilePixelShuffle(StepCompiler& compiler, const Step& step) {
  const ShuffleShape shape = shapeOf(compiler, step, step.in[0], step.out);
  compiler.launch(step.out, [=, &v = compiler.values(), stream = compiler.stream()] {
    withTypes(v.isHalf(step.in[0]), v.isHalf(step.out), [&](auto smallType, auto largeType) {
      using S = decltype(smallType);
      using L = decltype(largeType);
      pixelShuffle(shape, v.at<S>(step.in[0]), v.at<L>(step.out), stream);
    });
  });
}

void compilePixelShuffleBackward(StepCompiler& compiler, const Step& step) {
  const ShuffleShape shape = shapeOf(compiler, step, step.out, step.in[0]);
  compiler.launch(step.out, [=, &v = compiler.values(), stream = compiler.stream()] {
    withTypes(v.isHalf(step.out), v.isHalf(step.in[0]), [&](auto smallType, auto largeType) {
      using S = decltype(smallType);
      using L = decltype(largeType);
      pixelShuffleBackward(shape, v.at<L>(step.in[0]), v.atOrNull<L>(step.in.size() > 1 ? step.in[1] : -1),
                           v.at<S>(step.out), stream);
    });
  });
}

}  // namespace

void register_pixel_shuffle(Registry& registry) {
  registry.add(PixelShuffle::kKind, compilePixelShuffle);
  registry.fuses(PixelShuffle::kKind, [](const Program&, const Step& step) {
    const bool leaky = step.activation == ActivationKind::Relu || step.activation == ActivationKind::LeakyRelu;
    return leaky && step.residual < 0 ? 1 : 0;
  });
  registry.add(PixelShuffle::kBackward, compilePixelShuffleBackward);
}

}  // namespace wbsr::cuda

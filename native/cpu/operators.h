// Operators that oneDNN does not serve: resizing, pooling, channel scaling, and plain convolutions of thin values.
// All run on the calling thread's OpenMP team and give the same result for any number of threads.
#pragma once
#include "cpu/tensor.h"

namespace wbsr::cpu {

void upsample(const Layout& from, const float* in, float* out, int batch, int factor, bool cubic);
void upsampleBackward(const Layout& from, const float* gradOut, float* gradIn, int batch, int factor, bool cubic);
void crop(const Layout& from, const float* in, const Layout& to, float* out, int batch, int x, int y);
// Blocked or thin -> pooled (N, channels)
void globalPool(const Layout& from, const float* in, float* out, int batch, int channels);
void globalPoolBackward(const Layout& to, const float* gradOut, float* gradIn, int batch, int channels);
void scaleChannels(const Layout& layout, const float* in, const float* factors, float* out, int batch, int channels);
// dFactors (N, channels) = sum over pixels of dOut * in
void scaleChannelsBackwardFactors(const Layout& layout, const float* gradOut, const float* in, float* gradFactors,
                                  int batch, int channels);
void sigmoid(float* x, int64_t n);
void sigmoidBackward(float* dx, const float* dy, const float* y, int64_t n);
// PixelShuffle in channel order c r^2 + i r + j between any layouts.
void shuffleGeneric(const Layout& small, const float* in, const Layout& large, float* out, int batch, int factor,
                    int channels);
void unshuffleGeneric(const Layout& small, float* gradIn, const Layout& large, const float* gradOut, int batch,
                      int factor, int channels);

// Plain loops over planar (thin or pooled) values, h = w = 1 for pooled ones. weight (outC, inC, k, k) dense.
struct PlainConv {
  int batch, inC, outC, h, w, k;
};
void plainConv(const PlainConv& c, const float* in, const float* weight, const float* bias, const float* residual,
               float* out);
void plainConvBackwardData(const PlainConv& c, const float* gradOut, const float* weight, float* gradIn);
void plainConvBackwardWeights(const PlainConv& c, const float* in, const float* gradOut, float* gradWeight,
                              float* gradBias);

}  // namespace wbsr::cpu

// A subnet as a list of typed steps over value ids: what core makes and a device runs.
//
//   lower          graph + subnet + shape -> forward steps (crops inserted where the tail needs less than the trunk)
//   fuse           conv + activation (+ residual), pixel shuffle + activation
//   differentiate  appends Loss and the backward steps, so a network never writes its own backward
//   plan           liveness -> offsets in one arena, in place where legal
#pragma once
#include <functional>
#include <vector>

#include "core/graph.h"

namespace wbsr {

enum class StepKind {
  Conv,                          // out = activation(conv(in0) + bias) (+ residual)
  Activation,                    // out = activation(in0)
  Add,                           // out = in0 + in1
  PixelShuffle,                  // out = activation(shuffle(in0))
  Upsample,                      // out = resize(in0) (+ in1)
  GlobalPool,                    // out = mean over pixels of in0
  ScaleChannels,                 // out = in0 * in1
  Crop,                          // out = in0[cropY : , cropX : ]
  Loss,                          // out = dLoss/d(in0); the target and the loss are arguments of the run
  ConvBackwardData,              // out = dIn from in0 = dOut
  ConvBackwardWeights,           // parameter gradients from in0 = input, in1 = dOut
  ActivationBackward,            // out = dIn from in0 = dOut, in1 = the activation's output
  PixelShuffleBackward,          // out = dIn from in0 = dOut, in1 = the step's output (unused without activation)
  UpsampleBackward,              // out = dIn from in0 = dOut
  GlobalPoolBackward,            // out = dIn from in0 = dOut
  ScaleChannelsBackwardInput,    // out = dIn from in0 = dOut, in1 = factors
  ScaleChannelsBackwardFactors,  // out = dFactors from in0 = dOut, in1 = input
};

// N x channels x height x width; N is the program's batch.
struct Value {
  int channels = 0, height = 0, width = 0;
  bool thin = false;    // fewer than 8 channels at every width (RGB ends): kept planar
  bool pooled = false;  // 1 x 1 by global pooling: kept as (N, C)
  int groups = 1;       // sub-pixel planes (r^2) kept apart, so that a shuffle moves whole channel blocks
};

struct Step {
  StepKind kind = StepKind::Conv;
  int in[2] = {-1, -1};
  int residual = -1;
  int out = -1;
  int node = -1;                                    // the convolution whose parameters are used
  int outChannels = 0, inChannels = 0, kernel = 0;  // the slice of its weight
  bool shuffled = false;  // Conv, PixelShuffle and their backward: filters are ordered sub-pixel first (Value::groups)
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;
  int factor = 1;
  bool cubic = false;
  int cropX = 0, cropY = 0;
  bool inPlace = false;  // set by plan: out has the memory of in[0] (Conv: of residual)
};

// What part of the input a region keeps, in LR pixels; width 0: everything.
struct Keep {
  int x = 0, y = 0, width = 0, height = 0;
  bool operator==(const Keep&) const = default;
};

struct Program {
  int batch = 1;
  std::vector<Value> values;
  std::vector<Step> steps;
  int input = -1, output = -1;
  // Where the output lies in LR pixels of the input (after crops).
  Keep covered;
  int forwardSteps = 0;  // steps before Loss

  // Filled by plan().
  std::vector<int64_t> offsets;  // floats into the arena; -1: external (input, output) or never materialised
  int64_t arenaFloats = 0;
};

Program lower(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width, const Keep& keep);
// The same where it is known what the tail runs on (coveredBy()).
Program lowerCovered(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width,
                     const Keep& covered);
void fuse(Program& program);
void differentiate(Program& program);
// `floats` tells how much memory a value takes on the device. Input and output stay external. residualInPlace: whether
// a convolution may write over its residual. lateWeights: ConvBackwardWeights steps run beside the others, and these wait
// before they write where one of those still reads: what it reads is left alone for as long as the arena, which does not
// grow for it, has other room.
void plan(Program& program, const std::function<int64_t(const Value&)>& floats, bool residualInPlace = true,
          bool lateWeights = false);
// What of a height x width input the tail runs on when `keep` of its output is wanted.
Keep coveredBy(const Graph& graph, const SubnetInfo& subnet, int height, int width, const Keep& keep);

}  // namespace wbsr

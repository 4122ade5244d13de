// A subnet as a list of typed steps over value ids. Core makes the list, a device runs it.
//
//   lower          graph + subnet + shape -> forward steps (crops inserted where the tail needs less than the trunk)
//   fuse           the activation and the addition after a step become part of it, where the device supports that
//   differentiate  appends Loss and the backward steps, so a network never writes its own backward
//   plan           liveness -> offsets in one arena, in place where legal
//
// The kinds of steps and what each reads and writes are declared beside the operators (core/operators), but for kLoss.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/graph.h"
#include "core/node.h"

namespace wbsr {

inline constexpr StepKind kLoss = "loss";  // out = dLoss/d(in0); the target and the loss are arguments of the run

// N x channels x height x width; N is the program's batch.
struct Value {
  int channels = 0, height = 0, width = 0;
  bool thin = false;    // fewer than 8 channels at every width (RGB ends): kept planar
  bool pooled = false;  // 1 x 1 by global pooling: kept as (N, C)
  int groups = 1;       // sub-pixel planes (r^2) kept apart, so that a shuffle moves whole channel blocks
  DataType type = DataType::Float32;
};

// A parameter that a step uses, or whose gradient it adds to.
struct ParameterSlice {
  int parameter = -1;          // index into Graph::parameters(); -1: not there (the bias of a convolution without)
  std::vector<Ranges> ranges;  // per dimension, in the order of the step's channels
  bool operator==(const ParameterSlice&) const = default;
};

// out = activation(op(in...)) + residual; with a gate (op(in...) + residual) * (activation(op(in...)) + gate)
struct Step {
  StepKind kind;
  std::shared_ptr<const Operator> op;  // attributes; null for kLoss
  std::vector<int> in;
  int residual = -1;
  int out = -1;                            // -1: it only adds to gradients of parameters
  int node = -1;                           // of the graph; -1 where there is none
  std::vector<ParameterSlice> parameters;  // as the operator lists them
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;          // of LeakyRelu
  ParameterSlice slopes;      // of LeakyRelu, one per channel; parameter -1: `slope` holds for all
  std::optional<float> gate;  // inference only
  bool inPlace = false;       // set by plan: out has the memory of one of its inputs (or of residual)

  int input(size_t k) const { return k < in.size() ? in[k] : -1; }
  template <class Class>
  const Class& as() const {
    return static_cast<const Class&>(*op);
  }
};

// The part of the input that a region keeps, in LR pixels; width 0: everything.
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
  // No loss and no backward steps: fused or lowered, but not differentiated.
  bool inference() const { return steps.size() == static_cast<size_t>(forwardSteps); }

  // Filled by plan().
  std::vector<int64_t> offsets;  // floats into the arena; -1: external (input, output) or never materialised
  int64_t arenaFloats = 0;
};

// How often each value is read (the program's output once more), and the step that writes it; -1: none.
struct Uses {
  std::vector<int> count, producer;
  explicit Uses(const Program& program);
};

Program lower(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width, const Keep& keep);
// The same for the part that the tail runs on (coveredBy()).
Program lowerCovered(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width,
                     const Keep& covered);
// The part of a height x width input that the tail runs on if `keep` of its output is kept.
Keep coveredBy(const Graph& graph, const SubnetInfo& subnet, int height, int width, const Keep& keep);

// Whether the device has a kernel for the step with its activation and residual, which are set before the call. 0: no.
// If several steps could take an addition, the one with the largest number does. The same for a step with slopes, a gate,
// both an activation and a residual, and for a pointwise convolution that reads the parts of a concatenation as its
// inputs; these occur in inference only.
using Supports = std::function<int(const Program& program, const Step& step)>;
// training: differentiate() comes next.
void fuse(Program& program, const Supports& supports, bool training);
void differentiate(Program& program);
// floats: the memory of a value on the device. Input and output stay external. residualInPlace: a step may write over
// its residual. lateWeights: steps that only add to gradients of parameters run concurrently with the others, which
// wait before they overwrite a value that such a step still reads. To make these waits rare, its memory is reused as
// late as the arena, which does not grow for this, has room.
void plan(Program& program, const std::function<int64_t(const Value&)>& floats, bool residualInPlace = true,
          bool lateWeights = false);

}  // namespace wbsr

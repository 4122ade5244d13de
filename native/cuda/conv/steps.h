// The steps of convolutions, ordinary and transposed: which code runs them, and their launches. Names refer to the
// ordinary convolution x -> y with the weight (O, I / groups, k, k); a transposed convolution is its gradient y -> x.
#pragma once
#include <optional>

#include "core/operators/upsample.h"
#include "cuda/program/step_compiler.h"

namespace wbsr::cuda {

struct ConvGeometry {
  int x, y;  // values
  int kernel, stride, padding, groups;
  bool depthwise;
  ParameterSlice weight;
  ParameterSlice bias;  // of the step's output; parameter -1: none
  int factor = 1;       // of a pixel shuffle at the end: y is the enlarged value
};

// The operations after the convolution: activation(. + bias) + residual; with a shift (. + bias + residual) *
// (activation(. + bias) + shift).
struct ConvEnd {
  bool bias = false;
  ActivationKind activation = ActivationKind::None;
  float slope = 0.f;
  int residual = -1;           // a value
  ParameterSlice slopes = {};  // of a leaky relu, one per channel; parameter -1: `slope` holds for all
  std::optional<float> shift = {};
  bool sums = false;  // leaves sums of the result (StepCompiler::leaveSums)
};

// Whether the convolution x -> y takes an end with slopes, a shift or sums, or both an activation and a residual.
bool takesAnyEnd(const Value& x, const Value& y, bool depthwise);

// y = end(conv(x))
void compileToOutput(StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end);
// y = conv(x) + bias + the value `small` enlarged (program/ends.h, which asks tile_conv.h first)
void compileOnto(StepCompiler& compiler, const ConvGeometry& g, const operators::Upsample& upsample, int small);
// x = end(the gradient of conv by x, from y); gate: a value of x's layout whose sign selects the derivative of the
// end's activation, which multiplies the sum of gradient and residual; the end then has no bias. -1: none.
void compileToInput(StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate);
// Adds the gradient of the weight, from x and y, to the gradient arena: on the side stream, with memory of its own.
void compileToWeight(StepCompiler& compiler, const ConvGeometry& g);
// Adds the sum over the pixels of a value to the gradient of g.bias, where there is one.
void compileToBias(StepCompiler& compiler, const ConvGeometry& g, int value);

// Adds the plan that the functions above use.
void addOutputPlan(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end,
                   std::vector<ConvSpec>& specs);
void addInputPlan(const StepCompiler& compiler, const ConvGeometry& g, const ConvEnd& end, int gate,
                  std::vector<ConvSpec>& specs);
void addWeightPlan(const StepCompiler& compiler, const ConvGeometry& g, std::vector<ConvSpec>& specs);

}  // namespace wbsr::cuda

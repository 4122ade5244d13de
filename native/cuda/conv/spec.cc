#include "cuda/conv/spec.h"

#include <functional>

namespace wbsr::cuda {

std::string ConvSpec::text() const {
  const char* modes[] = {"forward", "backward data of", "backward weights of"};
  const char* precisions[] = {"bf16", "tf32", "fp32"};
  const auto times = [](int a, int b) { return std::to_string(a) + "x" + std::to_string(b); };
  const std::string channels = std::to_string(inChannels) + "->" + std::to_string(outChannels);
  std::string text = std::string(modes[mode]) + " " + times(kernel, kernel) + " " + channels + " on " +
                     std::to_string(batch) + "x" + times(height, width) + ", " +
                     precisions[static_cast<int>(precision)];
  if (precision == Precision::Bf16 && mode != BackwardWeights && resultType(*this) == Type::Float) text += " to float";
  if (stride != 1) text += ", stride " + std::to_string(stride);
  if (pad() != kernel / 2) text += ", padding " + std::to_string(pad());
  if (bias) text += ", bias";
  const char* activations[] = {"",       ", relu", ", leaky relu ", ", sigmoid",   ", silu",
                               ", gelu", ", tanh", ", exp",         ", reciprocal"};
  text += activations[static_cast<int>(activation)];
  if (activation == ActivationKind::LeakyRelu) text += slopes ? "by channel" : std::to_string(slope);
  if (product) text += ", product with " + std::to_string(shift);
  if (gate) text += " gate";
  if (residual) text += ", residual";
  if (sums) text += ", sums";
  if (factor != 1) text += ", sub-pixels " + times(factor, factor);
  return text;
}

Type operandType(Precision precision) { return precision == Precision::Bf16 ? Type::Bf16 : Type::Float; }

Type resultType(const ConvSpec& spec) {
  return spec.mode == ConvSpec::Forward ? spec.y : spec.mode == ConvSpec::BackwardData ? spec.x : Type::Float;
}

ConvSpec normalised(ConvSpec spec) {
  const Type operand = operandType(spec.precision);
  const bool forward = spec.mode == ConvSpec::Forward, toData = spec.mode == ConvSpec::BackwardData;
  spec.padding = spec.pad();
  if (!forward) spec.bias = false;
  if (!forward && !toData) spec.residual = false;
  if (!forward) spec.factor = 1;
  if (!forward) spec.slopes = spec.product = spec.sums = false;
  if (!spec.product) spec.shift = 0.f;
  if (spec.slopes) spec.activation = ActivationKind::LeakyRelu;
  if (!toData) spec.gate = false;
  if (!forward && !spec.gate) spec.activation = ActivationKind::None;
  if (spec.gate && spec.activation == ActivationKind::None) spec.gate = false;
  if (spec.activation == ActivationKind::LeakyRelu && spec.slope == 0.f && !spec.slopes)
    spec.activation = ActivationKind::Relu;
  if (spec.activation != ActivationKind::LeakyRelu || spec.slopes) spec.slope = 0.f;
  if (!toData) spec.x = operand;
  if (!forward) spec.y = operand;
  return spec;
}

void validate(const ConvSpec& spec) {
  const auto sound = [&] {
    if (spec.batch < 1 || spec.height < 1 || spec.width < 1 || spec.kernel < 1 || spec.stride < 1) return false;
    if (spec.pad() >= spec.kernel || spec.outHeight() < 1 || spec.outWidth() < 1) return false;
    if (spec.inChannels < 8 || spec.inChannels % 8 != 0 || spec.outChannels < 8 || spec.outChannels % 8 != 0)
      return false;
    if (spec.factor < 1 || spec.outChannels % (8 * spec.factor * spec.factor) != 0) return false;
    if (spec.product && (!spec.residual || spec.slopes)) return false;
    if (spec.sums && (spec.factor > 1 || spec.residual || spec.activation != ActivationKind::None)) return false;
    if (spec.factor > 1 && (spec.residual || spec.slopes || spec.y != operandType(spec.precision))) return false;
    return operandType(spec.precision) == Type::Bf16 || resultType(spec) == Type::Float;
  };
  if (!sound()) throw Error("WBSR_INTERNAL", "no convolution can be: " + spec.text());
}

size_t HashConvSpec::operator()(const ConvSpec& s) const {
  size_t hash = 0;
  const auto mix = [&](size_t value) { hash = (hash ^ value) * 0x9E3779B97F4A7C15ull + (hash >> 29); };
  for (const int value :
       {int{s.mode}, s.batch, s.height, s.width, s.inChannels, s.outChannels, s.kernel, s.stride, s.pad(), s.factor})
    mix(static_cast<size_t>(value));
  for (const bool value : {s.bias, s.residual, s.gate, s.slopes, s.product, s.sums}) mix(value);
  for (const int value :
       {static_cast<int>(s.precision), static_cast<int>(s.x), static_cast<int>(s.y), static_cast<int>(s.activation)})
    mix(static_cast<size_t>(value));
  mix(std::hash<float>{}(s.slope));
  mix(std::hash<float>{}(s.shift));
  return hash;
}

}  // namespace wbsr::cuda

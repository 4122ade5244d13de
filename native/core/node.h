// Types that the operators, the graph and the steps share.
#pragma once

namespace wbsr {

// What a step may apply to its result (Step::activation) and what the operator `activation` applies.
enum class ActivationKind { None, Relu, LeakyRelu, Sigmoid, Silu, Gelu, Tanh, Exp, Reciprocal };

// The type in which a device computes and stores a value, as core sees it. Devices keep what they like inside.
enum class DataType { Float32 };

}  // namespace wbsr

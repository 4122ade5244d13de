// What the parts of the convolutions ask of a ConvSpec.
#pragma once
#include "cuda/conv/conv.h"

namespace wbsr::cuda {

// The convolution's own operands: T or float by the precision.
Type operandType(Precision precision);

// What the result's type is: y of Forward, dx of BackwardData, dw of BackwardWeights where its engine sums in float to the end.
Type resultType(const ConvSpec& spec);

// Specs that compute the same are one plan: what the direction does not use is cleared.
ConvSpec normalised(ConvSpec spec);

// Throws WBSR_INTERNAL where there is no such convolution.
void validate(const ConvSpec& spec);

struct HashConvSpec {
  size_t operator()(const ConvSpec& spec) const;
};

}  // namespace wbsr::cuda

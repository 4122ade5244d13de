// Properties of a ConvSpec that the parts of conv/ share.
#pragma once
#include "cuda/conv/conv.h"

namespace wbsr::cuda {

// The convolution's own operands: T or float by the precision.
Type operandType(Precision precision);

// The type of the result: y of Forward, dx of BackwardData, dw of BackwardWeights if its engine sums in float only.
Type resultType(const ConvSpec& spec);

// Clears the fields that the direction does not use, so that specs with the same result have the same plan.
ConvSpec normalised(ConvSpec spec);

// Throws WBSR_INTERNAL for a convolution that does not exist.
void validate(const ConvSpec& spec);

struct HashConvSpec {
  size_t operator()(const ConvSpec& spec) const;
};

}  // namespace wbsr::cuda

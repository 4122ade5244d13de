// The precision of convolutions; weights, gradients and sums are float32 everywhere.
#pragma once

namespace wbsr {

enum class Precision { Bf16, Tf32, Fp32 };

inline const char* nameOf(Precision precision) {
  return precision == Precision::Bf16 ? "bf16" : precision == Precision::Tf32 ? "tf32" : "fp32";
}

}  // namespace wbsr

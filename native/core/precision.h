// The precision of convolutions; weights, gradients and values between convolutions are float32 on the CPU, weights, gradients
// and sums everywhere. Int8: products of 8-bit integers with 32-bit sums, in inference only.
#pragma once

namespace wbsr {

enum class Precision { Bf16, Tf32, Fp32, Int8 };

inline const char* nameOf(Precision precision) {
  switch (precision) {
    case Precision::Bf16: return "bf16";
    case Precision::Tf32: return "tf32";
    case Precision::Int8: return "int8";
    default: return "fp32";
  }
}

}  // namespace wbsr

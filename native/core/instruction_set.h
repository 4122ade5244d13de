// The instruction set of this processor, detected in instruction_set.cc only. Loops are compiled several times, either as files
// with flags of their own (cpu/simd/) or as instances of one function (perInstructionSet).
#pragma once

namespace wbsr {

enum class InstructionSet { Base, Neon, Avx2, Avx512 };

// The best one that is compiled, that this processor runs, and that ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) allows: the
// variable limits oneDNN and our own loops alike. Avx2: with FMA. Avx512: F, BW, VL and DQ. Neon: every AArch64.
InstructionSet instructionSet();

// Whether products of 8-bit integers run on AMX: the processor and the system have it, the variable allows it, and the
// system has granted this process the tile registers (asked for at the first call).
bool hasAmxInt8();

// For functions that perInstructionSet instantiates and all that they call: each instance must contain them inlined.
#define WBSR_INLINE inline __attribute__((always_inline))

namespace detail {

template <auto body, typename Function = decltype(body)>
struct Instances;
template <auto body, typename Result, typename... Parameters>
struct Instances<body, Result (*)(Parameters...)> {
  static Result base(Parameters... parameters) { return body(parameters...); }
#if defined(__x86_64__)
  __attribute__((target("avx2"))) static Result avx2(Parameters... parameters) { return body(parameters...); }
  __attribute__((target("avx512f"))) static Result avx512(Parameters... parameters) { return body(parameters...); }
#endif
};

}  // namespace detail

// body(arguments...), compiled for the best instruction set. body: WBSR_INLINE, in an unnamed namespace.
template <auto body, typename... Arguments>
inline auto perInstructionSet(Arguments... arguments) {
#if defined(__x86_64__)
  switch (instructionSet()) {
    case InstructionSet::Avx512: return detail::Instances<body>::avx512(arguments...);
    case InstructionSet::Avx2: return detail::Instances<body>::avx2(arguments...);
    default: break;
  }
#endif
  return detail::Instances<body>::base(arguments...);
}

}  // namespace wbsr

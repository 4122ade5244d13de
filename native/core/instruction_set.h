// The instruction set of this processor, detected in this file only. Loops are compiled several times, either as files
// with flags of their own (cpu/simd/) or as instances of one function (perInstructionSet).
#pragma once

namespace wbsr {

enum class InstructionSet { Base, Avx2, Avx512 };

// The best one that is compiled and that this processor runs. Avx2: with FMA. Avx512: F, BW, VL and DQ.
inline InstructionSet instructionSet() {
#if defined(__x86_64__)
  static const InstructionSet best = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return InstructionSet::Base;
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return wide ? InstructionSet::Avx512 : InstructionSet::Avx2;
  }();
  return best;
#else
  return InstructionSet::Base;
#endif
}

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

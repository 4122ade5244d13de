#include "core/instruction_set.h"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace wbsr {
namespace {

#if defined(__x86_64__)
// What a value of oneDNN's variable allows: all that it does not name below. oneDNN takes both cases and compares whole
// names; AVX2_VNNI and newer ones that begin with AVX2 have AVX2.
InstructionSet allowed() {
  const char* value = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (!value) value = std::getenv("DNNL_MAX_CPU_ISA");
  const std::string_view name = value ? value : "";
  const auto is = [&](std::string_view wanted) {
    return name.size() == wanted.size() && strncasecmp(name.data(), wanted.data(), wanted.size()) == 0;
  };
  if (is("SSE41") || is("AVX")) return InstructionSet::Base;
  return name.size() >= 4 && strncasecmp(name.data(), "AVX2", 4) == 0 ? InstructionSet::Avx2 : InstructionSet::Avx512;
}
#endif

InstructionSet detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  const InstructionSet best = avx512 ? InstructionSet::Avx512 : avx2 ? InstructionSet::Avx2 : InstructionSet::Base;
  return std::min(best, allowed());
#elif defined(__aarch64__)
  return InstructionSet::Neon;
#else
  return InstructionSet::Base;
#endif
}

}  // namespace

InstructionSet instructionSet() {
  static const InstructionSet best = detect();
  return best;
}

}  // namespace wbsr

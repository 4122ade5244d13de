#include "core/instruction_set.h"

#include <strings.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wbsr {
namespace {

#if defined(__x86_64__)
// What a value of oneDNN's variable allows: all that it does not name below. oneDNN takes both cases and compares whole
// names; AVX2_VNNI and newer ones that begin with AVX2 have AVX2.
std::string_view limit() {
  const char* value = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (!value) value = std::getenv("DNNL_MAX_CPU_ISA");
  return value ? value : "";
}

bool startsWith(std::string_view name, std::string_view start) {
  return name.size() >= start.size() && strncasecmp(name.data(), start.data(), start.size()) == 0;
}

InstructionSet allowed() {
  const std::string_view name = limit();
  const auto is = [&](std::string_view wanted) {
    return name.size() == wanted.size() && strncasecmp(name.data(), wanted.data(), wanted.size()) == 0;
  };
  if (is("SSE41") || is("AVX")) return InstructionSet::Base;
  return startsWith(name, "AVX2") ? InstructionSet::Avx2 : InstructionSet::Avx512;
}

bool detectAmx() {
  if (instructionSet() != InstructionSet::Avx512) return false;
  if (startsWith(limit(), "AVX512") && !startsWith(limit(), "AVX512_CORE_AMX")) return false;
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & kTile) || !(edx & kInt8)) return false;
  // Linux gives the tile registers to processes that ask for them (Documentation/arch/x86/xstate.rst).
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
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

bool hasAmxInt8() {
#if defined(__x86_64__)
  static const bool granted = detectAmx();
  return granted;
#else
  return false;
#endif
}

}  // namespace wbsr

// Which engines the real cuDNN has for our operation graphs. On a GPU: for that. On the host: for devices that are only
// described to it (cuDNN 9.8 and newer finalizes plans without a device, kernels compiled and all), where a cuDNN is
// found, for example WBSR_CUDNN_PATH=<folder of the unpacked wheels>/nvidia/cudnn; skipped with the reason elsewhere.
#include <dlfcn.h>

#include <chrono>

#include "core/error.h"
#include "cuda/conv/engines.h"
#include "cuda/conv/plan.h"
#include "support/cuda_check.h"

namespace {

using namespace wbsr;
using namespace wbsr::cuda;
using namespace wbsr::test;

struct Card {
  const char* name;
  int version, processors, shared, threads, blocks;  // compute capability x 100
  int64_t l2, memory;
  bool floatResults;  // a bf16 convolution can write dx as float
};
const Card kCards[] = {
    {"NVIDIA H200", 900, 132, 232448, 2048, 32, 62914560, 150754820096, true},
    {"NVIDIA A100", 800, 108, 166912, 2048, 32, 41943040, 42949672960, false},
};

[[maybe_unused]] cudnn::Descriptor described(const Card& card) {  // not on a GPU
  const auto number = [](const char* key, int64_t value) {
    return std::string("\"") + key + "\":" + std::to_string(value) + ",";
  };
  const std::string json =
      "{" + number("deviceVer", card.version) + number("multiProcessorCount", card.processors) +
      number("warpSize", 32) + number("maxSharedMemoryPerBlock", 49152) +
      number("maxSharedMemoryPerBlockOptin", card.shared) + number("reservedSharedMemoryPerBlock", 1024) +
      number("maxRegistersPerSM", 65536) + number("maxCtasPerSM", card.blocks) + number("maxThreadsPerBlock", 1024) +
      number("maxThreadsPerSM", card.threads) + number("regsPerBlock", 65536) + number("totalGlobalMem", card.memory) +
      number("smClockRateKHz", 1980000) + number("l2CacheSize", card.l2) + "\"maxBlockSize\":[1024,1024,64]," +
      number("memClockRateKHz", 3201000) + "\"maxGridSize\":[2147483647,65535,65535]," +
      number("supportCoopLaunch", 1) + number("pciDeviceId", 0) + number("isTccDriver", 0) + number("cudaDeviceId", 0) +
      number("driverVer", 13000) + "\"deviceName\":\"" + card.name + "\"}";
  cudnn::Descriptor device(cudnn::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(cudnn::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, cudnn::CUDNN_TYPE_CHAR,
             static_cast<int64_t>(json.size()), json.c_str());
  device.finalize();
  return device;
}

ConvSpec makeSpec(ConvSpec::Mode mode, int in, int out, int kernel, Precision precision) {
  ConvSpec s;
  s.mode = mode;
  s.batch = 16, s.height = 31, s.width = 37, s.inChannels = in, s.outChannels = out, s.kernel = kernel;
  s.precision = precision;
  s.x = s.y = operandType(precision);
  return s;
}

double secondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// What cuDNN writes of a plan that it compiled it reads again, without compiling.
void checkWritten(const EnginePlan& engine, const ConvSpec& s, const EngineTarget& target) {
  const std::string json = writeEngine(engine);
  const auto begin = std::chrono::steady_clock::now();
  try {
    const EnginePlan again = restoreEngine(json, engine.name, target);
    const double seconds = secondsSince(begin);
    check(again.workspace == engine.workspace, s.text() + " has the same workspace when it is read again");
    check(writeEngine(again) == json, s.text() + " is the same plan");
    std::printf("  written in %zu bytes, read in %.4f s\n", json.size(), seconds);
  } catch (const cudnn::Failure& failure) {
    check(false, s.text() + " is read again: " + failure.message);
  }
}

// The best way to compute `s` has an engine; where it may not, a later one has.
void checkSpec(const ConvSpec& s, const EngineTarget& target, bool bestMayFail) {
  bool best = true;
  for (const ConvVariant& variant : variantsOf(s)) {
    const auto begin = std::chrono::steady_clock::now();
    std::string text;
    bool found = false;
    try {
      const ConvGraph graph = buildConvGraph(s, variant, target.handle);
      const EngineSearch search = findEngines(graph, s.precision, target, 1, workspaceLimit(size_t{80} << 30));
      found = !search.plans.empty();
      if (found && search.plans[0].compiled) checkWritten(search.plans[0], s, target);
      text = found ? search.plans[0].name + ", workspace " + std::to_string(search.plans[0].workspace)
                   : search.failure.message;
    } catch (const cudnn::Failure& failure) {
      text = failure.message;
    }
    const double seconds = secondsSince(begin);
    const char* how = variant.rows                     ? ", fused, by rows"
                    : variant.fused                    ? ", fused"
                    : variant.written != resultType(s) ? ", written as bf16"
                                                       : "";
    std::printf("%s%s: %s (%.2f s)\n", s.text().c_str(), how, found ? text.c_str() : ("none. " + text).c_str(),
                seconds);
    std::fflush(stdout);
    check(found || (best && bestMayFail), s.text() + " has an engine: " + text);
    if (found) return;
    best = false;
  }
  check(false, s.text() + " can be computed");
}

void checkCard(const EngineTarget& target, const std::vector<Precision>& precisions, bool floatResults) {
  for (const Precision precision : precisions) {
    ConvSpec s = makeSpec(ConvSpec::Forward, 64, 64, 3, precision);
    s.bias = true, s.activation = ActivationKind::LeakyRelu, s.slope = 0.1f;
    checkSpec(s, target, false);
    s.activation = ActivationKind::None, s.residual = true;
    checkSpec(s, target, false);
    s = makeSpec(ConvSpec::BackwardData, 64, 64, 3, precision);
    checkSpec(s, target, false);
    s.gate = true, s.activation = ActivationKind::Relu;
    checkSpec(s, target, false);
    s.residual = true;
    checkSpec(s, target, false);
    s.gate = false, s.activation = ActivationKind::None;
    checkSpec(s, target, false);
    checkSpec(makeSpec(ConvSpec::BackwardWeights, 64, 64, 3, precision), target, false);
  }
  ConvSpec s = makeSpec(ConvSpec::Forward, 40, 56, 3, Precision::Bf16);
  s.bias = true, s.activation = ActivationKind::Relu;
  checkSpec(s, target, false);
  s = makeSpec(ConvSpec::Forward, 64, 8, 3, Precision::Bf16);
  s.bias = true, s.y = Type::Float;
  checkSpec(s, target, false);
  // Sub-pixels by rows: both cards have an engine that writes rows apart (cuDNN 9.24).
  for (const int factor : {2, 3}) {
    s = makeSpec(ConvSpec::Forward, 64, 64 * factor * factor, 3, Precision::Bf16);
    s.bias = true, s.activation = ActivationKind::LeakyRelu, s.slope = 0.1f, s.factor = factor;
    checkSpec(s, target, false);
  }
  s = makeSpec(ConvSpec::BackwardData, 8, 64, 3, Precision::Bf16);
  s.x = Type::Float;
  checkSpec(s, target, !floatResults);
  checkSpec(makeSpec(ConvSpec::BackwardWeights, 8, 64, 1, Precision::Tf32), target, false);
}

int skip(const std::string& why) {
  std::printf("skipped: %s\n", why.c_str());
  return 0;
}

}  // namespace

int main() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return skip("cuDNN is not for sanitizers");
#endif
#ifdef WBSR_STAND_IN_DRIVER
  // Where there is no driver, cuDNN finds this one loaded under the driver's name.
  if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) && !dlopen(WBSR_STAND_IN_DRIVER, RTLD_NOW | RTLD_LOCAL))
    return skip(dlerror());
#endif
  if (const std::string tried = cudnn::open(); !tried.empty()) return skip(tried);
  std::printf("%s at %s\n", cudnn::version().c_str(), cudnn::location().c_str());
  const std::vector<Precision> both = {Precision::Bf16, Precision::Fp32};
#ifdef WBSR_HOST_CUDA
  if (cudnn::api().getVersion() < 90800) return skip("devices can be described to cuDNN 9.8 and newer");
  for (const Card& card : kCards) {
    std::printf("-- %s\n", card.name);
    const cudnn::Descriptor device = described(card);
    checkCard({nullptr, &device}, card.version == 900 ? both : std::vector{Precision::Bf16}, card.floatResults);
  }
#else
  const ConvHandle handle(0);
  checkCard({handle.raw(), nullptr}, both, false);
#endif
  return finish();
}

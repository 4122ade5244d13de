// Queries CUDA and cuDNN; findings.cc makes messages of the answers.
#include <cuda_runtime.h>

#include <cstdlib>

#include "cuda/conv/conv.h"
#include "cuda/conv/cudnn_api.h"
#include "cuda/device.h"
#include "cuda/findings.h"

namespace wbsr::cuda {
namespace {

// Clears the error, which the check of an unrelated later call would report otherwise.
std::string failureOf(const char* call, cudaError_t status) {
  cudaGetLastError();
  return std::string(call) + ": " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")";
}

Card lookAt(int index) {
  Card card;
  card.index = index;
  // Creates no context on the card, which would take memory and time.
  cudaDeviceProp properties;
  int mode = 0;
  if (const cudaError_t status = cudaGetDeviceProperties(&properties, index); status != cudaSuccess) {
    card.failure = failureOf("cudaGetDeviceProperties", status);
    return card;
  }
  card.name = properties.name;
  card.major = properties.major;
  card.minor = properties.minor;
  card.memory = static_cast<int64_t>(properties.totalGlobalMem);
  if (const cudaError_t status = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, index); status != cudaSuccess)
    card.failure = failureOf("cudaDeviceGetAttribute", status);
  card.prohibited = mode == cudaComputeModeProhibited;
  return card;
}

}  // namespace

FoundDevices findDevices() {
  Findings f;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) count = 0;
  f.tooOld = status == cudaErrorInsufficientDriver;
  if (status != cudaSuccess && status != cudaErrorNoDevice && !f.tooOld)
    f.failure = failureOf("cudaGetDeviceCount", status);
  cudaGetLastError();
  if (cudaDriverGetVersion(&f.driver) != cudaSuccess) f.driver = 0;
  cudaRuntimeGetVersion(&f.runtime);  // a constant of the library that is linked in
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) f.visible = *visible ? visible : "''";
  for (int i = 0; i < count; ++i) f.cards.push_back(lookAt(i));
  // cuDNN is large: it is opened only where a card could use it.
  const FoundDevices cards = conclude(f);
  if (cards.devices.empty()) return cards;
  f.cudnn = openCudnn();
  if (f.cudnn.empty()) f.cudnnVersion = cudnn::version();
  return conclude(f);
}

}  // namespace wbsr::cuda

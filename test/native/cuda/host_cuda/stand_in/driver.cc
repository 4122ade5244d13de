// A libcuda.so.1 for machines without a driver: what cuDNN wants of it before it compiles its fused kernels for a device
// that is only described (cuda_engines_check.cc). It finds no device and loads every kernel without looking at it.
#include <cstddef>

#define STAND_IN extern "C" __attribute__((visibility("default"))) int

constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE
static char something[64];

STAND_IN cuInit(unsigned) { return 0; }
STAND_IN cuDriverGetVersion(int* version) {
  *version = 13000;
  return 0;
}
STAND_IN cuDeviceGetCount(int* count) {
  *count = 0;
  return 0;
}
STAND_IN cuGetErrorString(int, const char** text) {
  *text = "no device";
  return 0;
}
STAND_IN cuGetErrorName(int, const char** text) {
  *text = "CUDA_ERROR_NO_DEVICE";
  return 0;
}
STAND_IN cuGetExportTable(const void** table, const void*) {
  *table = nullptr;
  return kNoDevice;
}
STAND_IN cuLibraryLoadData(void** library, ...) {
  *library = something;
  return 0;
}
STAND_IN cuLibraryUnload(void*) { return 0; }
STAND_IN cuLibraryGetKernel(void** kernel, void*, const char*) {
  *kernel = something;
  return 0;
}
STAND_IN cuKernelSetAttribute(...) { return 0; }

#define REFUSES(name) \
  STAND_IN name() { return kNoDevice; }
REFUSES(cuCtxGetCurrent)
REFUSES(cuCtxGetLimit)
REFUSES(cuCtxPopCurrent)
REFUSES(cuCtxPushCurrent)
REFUSES(cuDeviceGet)
REFUSES(cuKernelGetAttribute)
REFUSES(cuLaunchCooperativeKernel)
REFUSES(cuLaunchKernel)
REFUSES(cuLaunchKernelEx)
REFUSES(cuLibraryLoadFromFile)
REFUSES(cuLinkAddData)
REFUSES(cuLinkComplete)
REFUSES(cuLinkCreate)
REFUSES(cuLinkDestroy)
REFUSES(cuOccupancyMaxPotentialClusterSize)
REFUSES(cuStreamGetCtx)

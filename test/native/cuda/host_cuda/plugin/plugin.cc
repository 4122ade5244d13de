// The CUDA device as a plugin over the CUDA, the cuDNN and the NCCL of this folder: through Node, as users have it, without a
// GPU. libwbsr_cuda.so in a folder of its own; tests lay it beside a copy of the addon.
//
// In the environment: WBSR_HOST_DEVICES, how many devices there are (1); WBSR_HOST_NCCL=none, no NCCL but one of the machine.
#include "cuda/plugin.h"

#include <cstdlib>
#include <cstring>

#include "control.h"
#include "cuda/device.h"
#include "fake_cudnn.h"
#include "fake_nccl.h"

extern "C" __attribute__((visibility("default"))) const wbsr::cuda::Plugin* wbsrCudaPlugin() {
  wbsr::host_cuda::installFakeCudnn();
  if (const char* nccl = std::getenv("WBSR_HOST_NCCL"); !nccl || std::strcmp(nccl, "none") != 0)
    wbsr::host_cuda::installFakeNccl();
  if (const char* devices = std::getenv("WBSR_HOST_DEVICES")) wbsr::host_cuda::setDevices(std::atoi(devices));
  static const wbsr::cuda::Plugin plugin = {WBSR_PLUGIN_VERSION, wbsr::cuda::findDevices, wbsr::cuda::makeDevice};
  return &plugin;
}

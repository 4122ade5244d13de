// The CUDA device as a plugin over the CUDA and the cuDNN of this folder: through Node, as users have it, without a GPU.
// libwbsr_cuda.so in a folder of its own; tests lay it beside a copy of the addon.
#include "cuda/plugin.h"

#include "cuda/device.h"
#include "fake_cudnn.h"

extern "C" __attribute__((visibility("default"))) const wbsr::cuda::Plugin* wbsrCudaPlugin() {
  wbsr::host_cuda::installFakeCudnn();
  static const wbsr::cuda::Plugin plugin = {WBSR_PLUGIN_VERSION, wbsr::cuda::findDevices, wbsr::cuda::makeDevice};
  return &plugin;
}

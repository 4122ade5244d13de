// The plugin's one function.
#include "cuda/plugin.h"

#include "cuda/device.h"

extern "C" __attribute__((visibility("default"))) const wbsr::cuda::Plugin* wbsrCudaPlugin() {
  static const wbsr::cuda::Plugin plugin = {WBSR_PLUGIN_VERSION, wbsr::cuda::findDevices, wbsr::cuda::makeDevice};
  return &plugin;
}

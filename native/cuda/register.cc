// The kind 'cuda', for the addon: opens the plugin libwbsr_cuda.so beside the addon when CUDA is first asked for, so that
// one package serves machines with and without a GPU. Not part of the plugin.
#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/device_kind.h"
#include "core/error.h"
#include "cuda/plugin.h"

namespace wbsr::cuda {
namespace {

struct Loaded {
  const Plugin* plugin = nullptr;
  FoundDevices found;
};

// The folder that holds the code of this function.
std::filesystem::path ownFolder() {
  static const char here = 0;
  Dl_info info;
  if (!dladdr(&here, &info) || !info.dli_fname) return ".";
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

// False for a truncated library: dlopen() would map pages that the file does not have, and the process would be killed.
// A library ends with its section table. dlopen() reports other damage itself.
bool whole(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  Elf64_Ehdr head;
  if (!in.read(reinterpret_cast<char*>(&head), sizeof head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
    return true;
  return head.e_shoff + uint64_t{head.e_shnum} * head.e_shentsize <= std::filesystem::file_size(file);
}

// Throws WBSR_NO_DEVICE with the reason. The library is never closed: CUDA runs threads in it.
const Plugin* openPlugin() {
  const std::string file = ownFolder() / "libwbsr_cuda.so";
  const auto refuse = [](const std::string& reason) { throw Error("WBSR_NO_DEVICE", reason); };
  if (!std::filesystem::exists(file))
    refuse("this build of wbsr has no CUDA plugin (" + file + " does not exist; it is built where nvcc is found)");
  if (!whole(file)) refuse("the CUDA plugin " + file + " is damaged: install or build wbsr again");
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    refuse("the CUDA plugin cannot be opened (" + std::string(why ? why : file) + ")");
  }
  const auto entry = reinterpret_cast<PluginEntry>(dlsym(library, kPluginEntry));
  if (!entry)
    refuse("the CUDA plugin " + file + " has no function " + kPluginEntry +
           ": it is not wbsr's, or of another version");
  const Plugin* plugin = entry();
  if (std::strcmp(plugin->version, WBSR_PLUGIN_VERSION) != 0)
    refuse("the CUDA plugin " + file + " is of another build (" + plugin->version +
           ") than the addon (" WBSR_PLUGIN_VERSION "): install or build wbsr again");
  return plugin;
}

Loaded load() {
  Loaded loaded;
  try {
    loaded.plugin = openPlugin();
    loaded.found = loaded.plugin->findDevices();
  } catch (const std::exception& error) {
    loaded.found.devices.clear();
    loaded.found.reason = error.what();
  }
  return loaded;
}

const Loaded& loadedOnce() {
  static const Loaded loaded = load();
  return loaded;
}

// The usable devices, or why there are none: no plugin, one that cannot be opened or is of another build, or what the
// plugin itself found missing.
const FoundDevices& find() { return loadedOnce().found; }

std::unique_ptr<Device> make(const Graph& graph, const DeviceOptions& options) {
  const Loaded& loaded = loadedOnce();
  if (loaded.found.devices.empty()) throw Error("WBSR_NO_DEVICE", loaded.found.reason);
  std::string there;
  for (const FoundDevice& device : loaded.found.devices) {
    if (device.index == options.index) return loaded.plugin->makeDevice(graph, options);
    there += (there.empty() ? "" : ", ") + std::to_string(device.index) + " (" + device.name + ")";
  }
  throw Error("WBSR_NO_DEVICE", "there is no usable CUDA device " + std::to_string(options.index) + ", only " + there);
}

const DeviceRegistration registration({.name = "cuda",
                                       .label = "CUDA",
                                       .rank = 1,
                                       .precisions = {Precision::Bf16, Precision::Tf32, Precision::Fp32},
                                       .numbered = true,
                                       .autotunes = true,
                                       .exchange = "nccl",
                                       .find = find,
                                       .make = make});

}  // namespace
}  // namespace wbsr::cuda

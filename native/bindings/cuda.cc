#include "bindings/cuda.h"

#include <dlfcn.h>
#include <elf.h>

#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/error.h"
#include "cuda/plugin.h"

namespace wbsr::bindings {
namespace {

struct Loaded {
  const cuda::Plugin* plugin = nullptr;
  cuda::CudaState state;
};

// The folder that holds the code of this function.
std::filesystem::path ownFolder() {
  static const char here = 0;
  Dl_info info;
  if (!dladdr(&here, &info) || !info.dli_fname) return ".";
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

// False for a library that was cut off, which would kill the process: dlopen() maps pages that the file does not have.
// What ends a library is its table of sections. Other files are left to dlopen(), which has words for them.
bool whole(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  Elf64_Ehdr head;
  if (!in.read(reinterpret_cast<char*>(&head), sizeof head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
    return true;
  return head.e_shoff + uint64_t{head.e_shnum} * head.e_shentsize <= std::filesystem::file_size(file);
}

// Throws WBSR_NO_DEVICE with the reason. The library is never closed again: threads of CUDA live in it.
const cuda::Plugin* openPlugin() {
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
  const auto entry = reinterpret_cast<cuda::PluginEntry>(dlsym(library, cuda::kPluginEntry));
  if (!entry)
    refuse("the CUDA plugin " + file + " has no function " + cuda::kPluginEntry +
           ": it is not wbsr's, or of another version");
  const cuda::Plugin* plugin = entry();
  if (std::strcmp(plugin->version, WBSR_PLUGIN_VERSION) != 0)
    refuse("the CUDA plugin " + file + " is of another build (" + plugin->version +
           ") than the addon (" WBSR_PLUGIN_VERSION "): install or build wbsr again");
  return plugin;
}

Loaded load() {
  Loaded loaded;
  try {
    loaded.plugin = openPlugin();
    loaded.state = loaded.plugin->findDevices();
  } catch (const std::exception& error) {
    loaded.state.devices.clear();
    loaded.state.reason = error.what();
  }
  return loaded;
}

const Loaded& loadedOnce() {
  static const Loaded loaded = load();
  return loaded;
}

}  // namespace

const cuda::CudaState& cudaState() { return loadedOnce().state; }

std::unique_ptr<Device> makeCudaDevice(const Graph& graph, const cuda::CudaOptions& options) {
  const Loaded& loaded = loadedOnce();
  if (loaded.state.devices.empty()) throw Error("WBSR_NO_DEVICE", loaded.state.reason);
  std::string there;
  for (const cuda::CudaFacts& device : loaded.state.devices) {
    if (device.index == options.device) return loaded.plugin->makeDevice(graph, options);
    there += (there.empty() ? "" : ", ") + std::to_string(device.index) + " (" + device.name + ")";
  }
  throw Error("WBSR_NO_DEVICE", "there is no usable CUDA device " + std::to_string(options.device) + ", only " + there);
}

}  // namespace wbsr::bindings

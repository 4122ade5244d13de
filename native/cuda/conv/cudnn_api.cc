// Finds and loads libcudnn.so.9.
//
// What a wheel of Python needs, as tried with nvidia-cudnn-cu13 9.24: libcudnn.so.9 finds its own parts beside it
// (RPATH $ORIGIN) and has the compiler of its fused kernels built in (NVRTC is not opened). It does open
// libcublasLt.so.13, from nvidia/cu13/lib or nvidia/cublas/lib beside its own folder or by the loader's path, and calls
// abort() if that fails. So that library, of the CUDA release that cuDNN was built with, is opened here first: cuDNN
// then finds it loaded under its name, and a cuDNN without it is refused.
#include "cuda/conv/cudnn_api.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "cuda/library.h"
#include "cuda/python_wheels.h"

namespace wbsr::cuda::cudnn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "libcudnn.so.9";

std::mutex loading;
std::atomic<const Api*> current{nullptr};
Api loaded{};
std::string loadedFrom;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Opens the cuBLASLt that the cuDNN in `folder` will look for. Returns an empty string, or the reason of a failure.
std::string openCublasLt(const fs::path& folder, size_t cudaVersion) {
  const std::string major = std::to_string(cudaVersion / 1000), name = "libcublasLt.so." + major;
  const std::vector<std::string> places = {(folder / name).string(),
                                           (folder / ("../../cu" + major) / "lib" / name).string(),
                                           (folder / "../../cublas/lib" / name).string(), name};
  std::string why;
  for (const std::string& place : places) {
    std::error_code ignored;
    if (place != name && !fs::exists(place, ignored)) continue;
    Library library(place);
    why = library.error();
    if (!why.empty()) continue;
    library.keep();  // as cuDNN does
    return "";
  }
  const std::string beside = "nvidia/cu" + major + "/lib, nvidia/cublas/lib";
  return "it needs " + name + ", which is neither beside it (" + beside + ") nor on the loader's path (" + why + ")";
}

// Loads `file`. Returns an empty string, or the reason of a failure.
std::string load(const std::string& file) {
  Library library(file);
  if (!library.error().empty()) return library.error();
  Api table{};
  size_t (*cudartVersion)() = nullptr;
  library.find("cudnnGetVersion", table.getVersion);
  library.find("cudnnGetCudartVersion", cudartVersion);
  library.find("cudnnGetErrorString", table.getErrorString);
  library.find("cudnnGetLastErrorString", table.getLastErrorString);
  library.find("cudnnCreate", table.create);
  library.find("cudnnDestroy", table.destroy);
  library.find("cudnnSetStream", table.setStream);
  library.find("cudnnBackendCreateDescriptor", table.createDescriptor);
  library.find("cudnnBackendDestroyDescriptor", table.destroyDescriptor);
  library.find("cudnnBackendSetAttribute", table.setAttribute);
  library.find("cudnnBackendGetAttribute", table.getAttribute);
  library.find("cudnnBackendFinalize", table.finalize);
  library.find("cudnnBackendExecute", table.execute);
  if (table.getVersion && table.getVersion() < 90000)
    return "its version is " + std::to_string(table.getVersion()) + ", 90000 is needed";
  if (!library.missing().empty()) return "it has no " + library.missing();
  Dl_info info{};
  const bool placed = dladdr(reinterpret_cast<void*>(table.getVersion), &info) && info.dli_fname;
  std::error_code ignored;
  const fs::path where = fs::absolute(placed ? info.dli_fname : file, ignored);
  if (const std::string why = openCublasLt(where.parent_path(), cudartVersion()); !why.empty()) return why;
  loaded = table;
  loadedFrom = where.string();
  library.keep();
  return "";
}

}  // namespace

std::string open() {
  const std::lock_guard lock(loading);
  if (current.load()) return "";
  std::vector<std::string> files;
  std::string tried;
  if (const std::string path = environment("WBSR_CUDNN_PATH"); !path.empty()) {
    std::error_code ignored;
    if (!fs::is_directory(path, ignored))
      files.push_back(path);
    else
      for (const char* below : {"", "lib", "lib64"})
        if (const fs::path file = fs::path(path) / below / kName; fs::exists(file, ignored))
          files.push_back(file.string());
    if (files.empty()) return std::string("no ") + kName + " in WBSR_CUDNN_PATH=" + path;
    tried = "WBSR_CUDNN_PATH: ";
  } else {
    files = filesOfWheels(std::string("nvidia/cudnn/lib/") + kName);
    files.insert(files.begin(), kName);
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string why = load(files[i]);
    if (why.empty()) {
      current = &loaded;
      return "";
    }
    tried += (i ? "; " : "") + (why.find(files[i]) == std::string::npos ? files[i] + ": " : "") + why;
  }
  if (files.size() == 1 && files[0] == kName) tried += "; no wheel nvidia-cudnn in a Python installation";
  return tried;
}

const Api& api() {
  const Api* table = current.load();
  if (!table) throw Error("WBSR_INTERNAL", "cuDNN is used before it was opened");
  return *table;
}

std::string version() {
  const size_t v = api().getVersion();
  return "cuDNN " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

std::string location() {
  const std::lock_guard lock(loading);
  return current.load() == &loaded ? loadedFrom : "";
}

void install(const Api* table) {
  const std::lock_guard lock(loading);
  current = table;
}

}  // namespace wbsr::cuda::cudnn

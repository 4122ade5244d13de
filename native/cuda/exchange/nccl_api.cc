// Finds and loads libnccl.so.2: WBSR_NCCL_PATH (the file, or its folder), the loader's path, Python's wheel nvidia-nccl.
#include "cuda/exchange/nccl_api.h"

#include <dlfcn.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "cuda/python_wheels.h"

namespace wbsr::cuda::nccl {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kOldest = 21400;  // the first that can be told not to block

std::mutex loading;
std::atomic<const Api*> current{nullptr};
Api loaded{};

template <typename F>
void find(void* library, const char* name, F& function, std::string& missing) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (!function && missing.empty()) missing = name;
}

// Loads `file`. Returns an empty string, or the reason of a failure.
std::string load(const std::string& file) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* text = dlerror();
    return text ? text : file + ": unknown";
  }
  Api table{};
  std::string missing;
  find(library, "ncclGetVersion", table.getVersion, missing);
  int version = 0;
  if (table.getVersion && table.getVersion(&version) == kSuccess && version < kOldest) {
    dlclose(library);
    return file + ": its version is " + std::to_string(version) + ", " + std::to_string(kOldest) + " (2.14) is needed";
  }
  find(library, "ncclGetUniqueId", table.getUniqueId, missing);
  find(library, "ncclCommInitRankConfig", table.commInitRankConfig, missing);
  find(library, "ncclCommGetAsyncError", table.commGetAsyncError, missing);
  find(library, "ncclCommAbort", table.commAbort, missing);
  find(library, "ncclSend", table.send, missing);
  find(library, "ncclRecv", table.recv, missing);
  find(library, "ncclGetErrorString", table.getErrorString, missing);
  find(library, "ncclGetLastError", table.getLastError, missing);
  if (!missing.empty()) {
    dlclose(library);
    return file + ": it has no " + missing;
  }
  loaded = table;
  return "";
}

}  // namespace

std::string open() {
  const std::lock_guard lock(loading);
  if (current.load()) return "";
  std::vector<std::string> files;
  if (const char* path = std::getenv("WBSR_NCCL_PATH"); path && *path) {
    std::error_code ignored;
    const std::filesystem::path given = path;
    files.push_back((std::filesystem::is_directory(given, ignored) ? given / kName : given).string());
  } else {
    files = filesOfWheels(std::string("nvidia/nccl/lib/") + kName);
    files.insert(files.begin(), kName);
  }
  std::string tried;
  for (const std::string& file : files) {
    const std::string why = load(file);
    if (why.empty()) {
      current = &loaded;
      return "";
    }
    tried += (tried.empty() ? "" : "; ") + why;
  }
  return tried;
}

const Api& api() {
  const Api* table = current.load();
  if (!table) throw Error("WBSR_INTERNAL", "NCCL is used before it was opened");
  return *table;
}

void install(const Api* table) {
  const std::lock_guard lock(loading);
  current = table;
}

}  // namespace wbsr::cuda::nccl
